"""Where a part of a script runs: the folders its shell may be in, as far as they follow from the text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .verdict import Decision, Finding, Risk

if TYPE_CHECKING:
    from .locations import Locations, Use
    from .syntax import Command, Word

# More folders than these are as good as any folder.
_MAX_FOLDERS = 16
# A folder as the project names it; None is one that only the shell knows.
Folders = frozenset[str | None]
ROOT: Folders = frozenset({""})
_UNKNOWN: Folders = frozenset({None})


class Place:
    """The folders that a shell may be in: `here`, and `failed` if the last command did not succeed."""

    def __init__(self, locations: Locations, here: Folders = ROOT) -> None:
        self._locations = locations
        self.here = self.failed = here
        # Where it was before, and how many folders `pushd` surely left for `popd`.
        self._seen: Folders = frozenset()
        self._pushed = 0

    def fork(self) -> Place:
        """The place of another process started here: what it enters changes nothing here."""
        other = Place(self._locations, self.here)
        other._seen, other._pushed = self._seen, self._pushed
        return other

    def be(self, here: Folders, failed: Folders | None = None) -> None:
        """Be in one of these folders, or, if the last command did not succeed, in one of `failed`."""
        if here != self.here:
            self._pushed = 0
        self.here = _bounded(here)
        self.failed = self.here if failed is None else _bounded(failed)

    def meet(self) -> None:
        """Go on whether the last command succeeded or not."""
        self.be(self.here | self.failed)

    def judge(self, path: str, use: Use, *, globbed: bool = False) -> Finding | None:
        """The worst finding about a path over all folders it may start from."""
        worst: Finding | None = None
        for folder in self.here:
            found = self._judge_from(folder, path, use, globbed)
            if found is not None and (worst is None or _weight(found) > _weight(worst)):
                worst = found
        return worst

    def is_root(self, path: str) -> bool:
        """Whether a path may mean the project's root, or everything in it."""
        return any(
            (folder is None and not _is_absolute(path)) or self._locations.is_root(_join(folder or "", path))
            for folder in self.here
        )

    def is_inside(self, path: str) -> bool:
        """Whether a path is surely within the project and may be read."""
        return all(
            folder is not None and self._locations.is_inside(_join(folder, path)) for folder in self.here
        )

    def enter(self, word: Word | None) -> None:
        """Be in the folder that a word names, or still here if it cannot be entered; None is a folder that only the
        shell knows."""
        if word is None or word.dynamic or word.globbed:
            self._move(_UNKNOWN)
        else:
            self._move(frozenset(self._joined(folder, word.text) for folder in self.here))

    def change(self, program: str, command: Command) -> None:
        """Follow `cd`, `pushd` or `popd`."""
        names, back = _read_folders(command)
        if program == "popd" or back or (program == "pushd" and not names):
            surely = self._pushed > 0
            self._move(self._seen if surely else _UNKNOWN)
            self._pushed -= surely
            return
        before = self._pushed
        if not names:
            self._move(frozenset({"~"}))
        else:
            self.enter(names[0] if len(names) == 1 else None)
        self._pushed = before + (program == "pushd")

    def _joined(self, folder: str | None, path: str) -> str | None:
        unknown = folder is None and not _is_absolute(path)
        return None if unknown else self._locations.tidy(_join(folder or "", path))

    def _move(self, after: Folders) -> None:
        before = self.here
        self._seen = _bounded(self._seen | before)
        self.here, self.failed = _bounded(after), before

    def _judge_from(self, folder: str | None, path: str, use: Use, globbed: bool) -> Finding | None:
        found = self._locations.judge(_join(folder or "", path), use, globbed=globbed)
        known = folder is not None or _is_absolute(path)
        if known or (found is not None and found.decision is Decision.BLOCK):
            return found
        shown = path[:100]
        reason = f"What {shown!r} is depends on a folder that only the shell knows; name it from the project's root."
        return Finding(Decision.REVIEW, Risk.HIGH, "path.unknown-folder", shown, reason)


def _read_folders(command: Command) -> tuple[list[Word], bool]:
    """The folders a command names, and whether it goes back to where it was."""
    names: list[Word] = []
    back = ended = False
    for word in command.arguments:
        if ended or word.dynamic or word.text[:1] not in {"-", "+"}:
            names.append(word)
        elif word.text == "--":
            ended = True
        else:
            back = back or word.text == "-" or word.text[1:].isdigit()
    return names, back


def _weight(finding: Finding) -> tuple[Decision, Risk]:
    return finding.decision, finding.risk


def _bounded(folders: Folders) -> Folders:
    return folders if len(folders) <= _MAX_FOLDERS else _UNKNOWN


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "~"))


def _join(folder: str, path: str) -> str:
    return path if not folder or _is_absolute(path) else f"{folder}/{path}"
