"""Codex's `apply_patch`: what a patch adds, changes, moves and deletes, as calls that the bridge's rules know.

A line that is not understood, or that could be read in two ways, leaves the patch as it is: no rule knows the tool, so
it is reviewed. The format is that of Codex's parser (codex-rs/apply-patch/src/parser.rs).
"""

import shlex
from typing import Any

_BEGIN, _END, _END_OF_FILE = "*** Begin Patch", "*** End Patch", "*** End of File"
_ADD, _UPDATE, _DELETE, _MOVE = "*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "
# Each file is asked about by itself, within the time that the hook has.
MAX_FILES = 50

Calls = list[tuple[str, dict[str, Any]]]


def read_patch(text: str) -> Calls | None:
    """A call for every file of a patch, two for one that is moved; None for what is no plain patch."""
    lines = text.strip().split("\n")
    if len(lines) < 3 or lines[0].strip() != _BEGIN or lines[-1].strip() != _END:
        return None
    rest = lines[1:-1]
    calls: Calls = []
    while rest:
        header = rest.pop(0).strip()
        path = header.partition(": ")[2].strip()
        if not path or len(calls) >= MAX_FILES:
            return None
        if header.startswith(_ADD):
            added = _take(rest, "+")
            calls.append(
                ("Write", {"file_path": path, "content": "".join(f"{line[1:]}\n" for line in added)})
            )
        elif header.startswith(_DELETE):
            calls.append(("Bash", {"command": f"rm -- {shlex.quote(path)}"}))
        elif header.startswith(_UPDATE):
            change = _read_update(path, rest)
            if change is None:
                return None
            calls += change
        else:
            return None
    return calls or None


def _read_update(path: str, rest: list[str]) -> Calls | None:
    moved = rest.pop(0)[len(_MOVE) :].strip() if rest and rest[0].startswith(_MOVE) else None
    old: list[str] = []
    new: list[str] = []
    while rest and (not rest[0].startswith("***") or rest[0].strip() == _END_OF_FILE):
        line = rest.pop(0)
        sign, text = line[:1], line[1:]
        if line.startswith(("@@", "***")):
            continue
        if sign not in {"", " ", "+", "-"} or (sign != "+" and text.lstrip().startswith("*** ")):
            return None
        old += [text] if sign != "+" else []
        new += [text] if sign != "-" else []
    written = "\n".join(new)
    edit = ("Edit", {"file_path": path, "old_string": "\n".join(old), "new_string": written})
    if moved is None:
        return [edit]
    return [edit, ("Write", {"file_path": moved, "content": written})] if moved else None


def _take(rest: list[str], sign: str) -> list[str]:
    """The lines that begin with a sign, taken off the front."""
    taken: list[str] = []
    while rest and rest[0].startswith(sign):
        taken.append(rest.pop(0))
    return taken
