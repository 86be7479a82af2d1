"""What a process uses, as the kernel counts it."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """User and system time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def resident_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def descriptors(pid: int) -> int:
    """Open file descriptors."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def connections(pid: int) -> int:
    """Open sockets, those it listens on among them."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found += str(descriptor.readlink()).startswith("socket:")
    return found


def pin(pid: int, processors: str) -> None:
    """Keep all threads of a process on the given processors, such as 0 or 0,1."""
    subprocess.run(
        ["taskset", "--all-tasks", "--cpu-list", "--pid", processors, str(pid)],
        check=True,
        capture_output=True,
    )
