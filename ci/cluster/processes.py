"""Starting a node's processes: in its namespaces, in a control group of its own, detached from this program."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

from ci.cluster import cgroups
from ci.console import Failure
from ci.settings import LOGS, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ci.cluster.network import Node

# Places that a node must have to itself; each is a folder of the node's state, bound over the host's.
PRIVATE = (
    "/etc/cni/net.d",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/local-path",
    "/var/log/containers",
    "/var/log/pods",
)


def node_state(node: Node) -> Path:
    """The folder with a node's files."""
    return STATE / "nodes" / node.name


def node_path(node: Node, path: str) -> Path:
    """Where the host sees a `PRIVATE` place of a node."""
    return node_state(node) / path.removeprefix("/").replace("/", "-")


def log_file(node: Node, name: str) -> Path:
    """The log of a node's process."""
    return LOGS / f"{node.name}-{name}.log"


def create_node(node: Node) -> None:
    """Make a node's mount namespace, held by an idle process.

    Its root is shared within itself, which kubelet needs for mount propagation, and private towards the host: all
    its mounts end with its last process.
    """
    lines = ["set -e", "mount --make-rprivate /"]
    for path in PRIVATE:
        node_path(node, path).mkdir(parents=True, exist_ok=True)
        lines += [f"mkdir -p {path}", f"mount --bind {node_path(node, path)} {path}"]
    lines += ["mount --make-rshared /", "exec sleep infinity"]
    _start(
        node,
        "anchor",
        ["nsenter", f"--net=/run/netns/{node.namespace}", "unshare", "--mount", "sh", "-c", "\n".join(lines)],
        {},
    )
    wait_until(lambda: _anchored(node), 10, f"node {node.name}'s namespaces", log_file(node, "anchor"))


def _anchored(node: Node) -> bool:
    pids = cgroups.running(node.name, "anchor")
    return any(program_of(pid) == "sleep" for pid in pids)


def program_of(pid: int) -> str:
    """The program that a process runs; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/comm") as comm:  # noqa: PTH123 - a one-line read of procfs
            return comm.read().strip()
    except OSError:
        return ""


def start(node: Node, name: str, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
    """Start a process of a node; `cgroups.running` finds it again."""
    (anchor, *_) = cgroups.running(node.name, "anchor")
    _start(
        node, name, ["nsenter", f"--target={anchor}", "--net", "--mount", "--", *map(str, argv)], env or {}
    )


def _start(node: Node, name: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
    LOGS.mkdir(parents=True, exist_ok=True)
    join = f'echo $$ > "{cgroups.process_group(node.name, name)}" && exec "$@"'
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env}
    with log_file(node, name).open("ab") as log:
        subprocess.Popen(
            [
                "env",
                "-i",
                *(f"{key}={value}" for key, value in environment.items()),
                "sh",
                "-c",
                join,
                "sh",
                *argv,
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


def wait_until(ready: Callable[[], bool], seconds: float, what: str, log: Path | None = None) -> None:
    """Wait for a condition; a `Failure` names what did not come about and where to look."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            where = f": look at {log}" if log else ": run 'make status'"
            raise Failure(f"{what[0].upper()}{what[1:]} did not come up within {seconds:.0f} s{where}.")
        time.sleep(0.1)
