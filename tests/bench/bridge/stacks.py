"""Where the bridge's processor time goes: stacks sampled by py-spy while it is under load, counted by module."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SAMPLES_PER_SECOND = 200
_FRAME = re.compile(r"^(?P<function>.+) \((?P<file>[^()]+?)(?::\d+)?\)$")


class Sampler:
    """py-spy on a process, for as long as the block runs; it sees threads that run Python or native code."""

    def __init__(self, pid: int, output: Path) -> None:
        self._output = output
        self._command = [
            str(Path(sys.executable).with_name("py-spy")),
            *("record", "--pid", str(pid), "--format", "raw", "--full-filenames", "--output", str(output)),
            *("--rate", str(SAMPLES_PER_SECOND), "--duration", "unlimited"),
        ]

    def __enter__(self) -> Sampler:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_: object) -> None:
        # An interrupt is how py-spy is told to write what it has.
        self._process.send_signal(2)
        said, _none = self._process.communicate(timeout=60)
        if not self._output.is_file():
            raise SystemExit(f"py-spy sampled nothing: {said.decode().strip()[-500:]}")

    def shares(self, package: str) -> dict[str, float]:
        """The share of samples by module of `package`, the dearest first; see `by_module`."""
        return by_module(self._output.read_text().splitlines(), package)


def by_module(lines: Iterable[str], package: str) -> dict[str, float]:
    """The share of samples by the innermost module of `package` on the stack; without one, by the innermost file.

    A line holds a stack, outermost frame first, and how often it was seen: `main (/x/a.py:1);work (/x/b.py:2) 17`.
    """
    found: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        files = [match["file"] for frame in stack.split(";") if (match := _FRAME.match(frame))]
        own = [file.partition(f"/{package}/")[2] for file in files if f"/{package}/" in file]
        if own:
            found[own[-1].removesuffix(".py")] += int(count)
        elif files:
            found[f"({Path(files[-1]).name})"] += int(count)
        else:
            found["(other)"] += int(count)
    total = found.total()
    return {name: count / total for name, count in found.most_common()} if total else {}
