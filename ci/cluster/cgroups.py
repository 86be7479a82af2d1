"""Control groups of the cluster: every process of ours is in one tree, so that all of them can be found and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from ci.console import Failure
from ci.settings import CLUSTER

TREE = CLUSTER


def hierarchies() -> list[Path]:
    """Where control groups are mounted: a path for each hierarchy of version 1, and that of version 2, or both."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(fields[1]) for fields in mounts if fields[2] in {"cgroup", "cgroup2"}]


def _tracking() -> Path:
    """The hierarchy in which processes are looked up."""
    found = hierarchies()
    if not found:
        raise Failure("No control groups are mounted: mount cgroup2 at /sys/fs/cgroup.")
    return next((path for path in found if path.name == "pids"), found[0])


def prepare_node(node: str) -> str:
    """Make a node's own root in every hierarchy and return its name for kubelet's `cgroupRoot`.

    Kubelets that share a root take each other's pods for orphans and kill them.
    """
    for hierarchy in hierarchies():
        group = hierarchy
        for part in (TREE, node):
            group /= part
            group.mkdir(exist_ok=True)
            for name in (
                "cpuset.cpus",
                "cpuset.mems",
            ):  # version 1: a child starts empty and takes no process
                if (group / name).exists() and not (group / name).read_text().strip():
                    (group / name).write_text((group.parent / name).read_text())
            if (group.parent / "cgroup.subtree_control").exists():
                available = (group.parent / "cgroup.controllers").read_text().split()  # none beside version 1
                (group.parent / "cgroup.subtree_control").write_text(
                    " ".join(f"+{name}" for name in available)
                )
    return f"/{TREE}/{node}"


def process_group(node: str, name: str) -> Path:
    """The group's `cgroup.procs` file that a system process of a node joins."""
    group = _tracking() / TREE / node / "system" / name
    group.mkdir(parents=True, exist_ok=True)
    return group / "cgroup.procs"


def running(node: str, name: str) -> list[int]:
    """Process ids of a system process and its children."""
    return _pids(_tracking() / TREE / node / "system" / name)


def system_processes() -> dict[str, dict[str, list[int]]]:
    """Node → process name → its ids."""
    root = _tracking() / TREE
    return {
        node.name: {
            group.name: _pids(group) for group in sorted((node / "system").iterdir()) if group.is_dir()
        }
        for node in (sorted(root.iterdir()) if root.is_dir() else [])
        if (node / "system").is_dir()
    }


def _pids(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _groups(root: Path) -> list[Path]:
    """A group and all below it, parents first; groups that go meanwhile are left out."""
    return [Path(folder) for folder, _, _ in os.walk(root)]


def _all_pids() -> set[int]:
    return {pid for hierarchy in hierarchies() for group in _groups(hierarchy / TREE) for pid in _pids(group)}


def end_all(seconds: float = 30.0) -> int:
    """Kill every process in the cluster's tree and return how many there were."""
    deadline = time.monotonic() + seconds
    seen: set[int] = set()
    while pids := _all_pids() - {os.getpid()}:
        seen |= pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise Failure(
                f"Processes {sorted(pids)} did not end within {seconds:.0f} s: look at /proc/<pid>/stack for what holds them."
            )
        time.sleep(0.05)
    return len(seen)


def remove_tree(seconds: float = 10.0) -> None:
    """Remove the cluster's groups from every hierarchy."""
    deadline = time.monotonic() + seconds
    for hierarchy in hierarchies():
        root = hierarchy / TREE
        while root.is_dir():
            for group in reversed(_groups(root)):
                with contextlib.suppress(OSError):
                    group.rmdir()
            if root.is_dir():
                if time.monotonic() > deadline:
                    raise Failure(f"The control group {root} cannot be removed: end the processes in it.")
                time.sleep(0.05)


def leftovers() -> list[str]:
    """Groups of ours that are still there."""
    return [str(hierarchy / TREE) for hierarchy in hierarchies() if (hierarchy / TREE).is_dir()]
