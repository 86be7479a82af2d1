"""Prints what each parser makes of the corpus, and how long it takes.

The independent truth is mvdan/sh, the parser of shfmt, as a program: the names of commands it finds in a text, at
any depth. A parser that misses one of them would let it pass unjudged; one that fails costs a review.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.cache import cached, digest
from lighthouse_bridge.decisions.shell import parse_shell
from lighthouse_bridge.decisions.syntax import Command, Opaque, walk
from tests.images.bridge.labelled import load_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SAME = {"test": "["}
HERE = Path(__file__).parent
# One process reads all texts, so that its start is not counted.
BASHLEX = """
import json, sys, time
import bashlex
from bashlex import ast
class Names(ast.nodevisitor):
    def __init__(self): self.found = []
    def visitcommand(self, node, parts):
        words = [part for part in parts if part.kind == "word"]
        if words: self.found.append(words[0].word)
for line in sys.stdin:
    text = json.loads(line)
    started = time.perf_counter()
    try:
        names = Names()
        for tree in bashlex.parse(text): names.visit(tree)
        found = names.found
    except Exception as error: found = None
    print(json.dumps([found, time.perf_counter() - started]))
"""


@dataclass
class Outcome:
    """What one parser did: texts it gave up on, texts in which it missed commands, and its times in seconds."""

    failed: int = 0
    missed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Print the table."""
    programs = _environment()
    texts = [call.command for call in load_calls() if call.tool == "Bash" and "command" in call.tool_input]
    truths = {text: names for text in texts if (names := _shfmt(programs, text)) is not None}
    outcomes = {
        "tree-sitter-bash": _measure(truths, _tree_sitter),
        "bashlex": _from_process(programs, truths),
    }
    print(f"{len(texts)} texts, {len(truths)} of them valid by mvdan/sh {_version(programs)}")
    print(f"{'parser':<18}{'gave up':>9}{'missed a command':>18}{'median':>10}{'p99':>10}{'longest':>10}")
    for name, outcome in outcomes.items():
        times = sorted(outcome.seconds)
        figures = [statistics.median(times), times[int(len(times) * 0.99)], times[-1]]
        shown = "".join(f"{figure * 1e6:>7.0f} µs" for figure in figures)
        print(f"{name:<18}{outcome.failed:>9}{len(outcome.missed):>18}{shown}")
    for name, outcome in outcomes.items():
        for text in outcome.missed:
            print(f"  {name} misses a command in {text[:100]!r}")


def _environment() -> Path:
    requirements = HERE / "requirements.txt"

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, "--require-hashes", "-r", str(requirements)], check=True)

    return cached("bench-parsers", digest(requirements, sys.version), make)[0] / "bin"


def _version(programs: Path) -> str:
    return subprocess.check_output([programs / "shfmt", "--version"], text=True).strip()


def _shfmt(programs: Path, text: str) -> list[str] | None:
    done = subprocess.run(
        [programs / "shfmt", "-ln", "bash", "--to-json"],
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    return None if done.returncode else list(_called(json.loads(done.stdout)))


def _called(node: Any) -> Iterator[str]:
    """The names of commands, as far as they are plain text."""
    if isinstance(node, list):
        for child in node:
            yield from _called(child)
    elif isinstance(node, dict):
        if node.get("Type") == "CallExpr" and node.get("Args"):
            parts = node["Args"][0]["Parts"]
            if all(part["Type"] == "Lit" for part in parts):
                yield "".join(part["Value"] for part in parts)
        for child in node.values():
            yield from _called(child)


def _tree_sitter(text: str) -> list[str] | None:
    parts = list(walk(parse_shell(text)))
    commands = [part for part in parts if isinstance(part, Command)]
    found = [_SAME.get(part.name.text, part.name.text) for part in commands]
    # Words of the shell to mvdan/sh, programs that run another to the judge, which looks at their words.
    found += [
        word.text for part in commands if part.name.text in {"time", "coproc"} for word in part.arguments
    ]
    # What is opaque goes to review as a whole, so nothing in it passes.
    return None if any(isinstance(part, Opaque) for part in parts) else found


def _measure(truths: dict[str, list[str]], parse: Callable[[str], list[str] | None]) -> Outcome:
    outcome = Outcome()
    for text, names in truths.items():
        started = time.perf_counter()
        found = parse(text)
        _note(outcome, text, names, found, time.perf_counter() - started)
    return outcome


def _from_process(programs: Path, truths: dict[str, list[str]]) -> Outcome:
    lines = "\n".join(json.dumps(text) for text in truths) + "\n"
    done = subprocess.run(
        [programs / "python", "-c", BASHLEX], input=lines, capture_output=True, text=True, check=True
    )
    outcome = Outcome()
    for (text, names), line in zip(truths.items(), done.stdout.splitlines(), strict=True):
        found, seconds = json.loads(line)
        _note(outcome, text, names, found, seconds)
    return outcome


def _note(outcome: Outcome, text: str, names: list[str], found: list[str] | None, seconds: float) -> None:
    outcome.seconds.append(seconds)
    if found is None:
        outcome.failed += 1
    elif [
        name
        for name in names
        if name.replace("\\", "")
        not in {one.replace("\\", "") for one in found} | ({"test"} if "[" in found else set())
    ]:
        outcome.missed.append(text)


if __name__ == "__main__":
    main()
