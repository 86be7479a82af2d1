"""Faults of the local cluster's nodes and pods: each is a context that ends with the fault."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ci.cluster import cgroups, lifecycle, network
from ci.cluster.processes import node_path
from ci.console import run
from ci.settings import NAMESPACE
from tests.live.support import Container

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.cluster.network import Node
    from tests.production.postgres.database import Database

VOLUMES = "/var/lib/local-path"
VOLUMES_SIZE = 1500  # MiB


def node_named(name: str) -> Node:
    """A node of the running cluster."""
    (found,) = (node for node in lifecycle.current() if node.name == name)
    return found


def delete_pod(database: Database, pod: str) -> None:
    """Delete a pod as a drain or an eviction does."""
    database.cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--wait=false")


def kill_postmaster(database: Database, pod: str) -> None:
    """Kill PostgreSQL's first process with a signal that it cannot handle."""
    pids = Container(database.cluster, NAMESPACE, pod, "postgres").pids()
    servers = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"]
    os.kill(servers[0], signal.SIGKILL)


@contextlib.contextmanager
def stopped_node(node: Node) -> Iterator[None]:
    """A node as after a power cut: nothing on it runs, and no packet leaves or reaches it."""
    with unplugged(node):
        _freeze(node, frozen=True)
        try:
            yield
        finally:
            _freeze(node, frozen=False)


@contextlib.contextmanager
def unplugged(node: Node) -> Iterator[None]:
    """A node whose cable is out: its port of the cluster's switch is down."""
    port = ["ip", "-n", network.SWITCH, "link", "set", node.name]
    run([*port, "down"])
    try:
        yield
    finally:
        run([*port, "up"])


def _freeze(node: Node, *, frozen: bool) -> None:
    states = {"freezer.state": ("THAWED", "FROZEN"), "cgroup.freeze": ("0", "1")}  # versions 1 and 2
    done = False
    for hierarchy in cgroups.hierarchies():
        for name, values in states.items():
            file = hierarchy / cgroups.TREE / node.name / name
            if file.exists():
                file.write_text(values[frozen])
                done = True
    assert done, "no control group of this machine can be frozen"


@contextlib.contextmanager
def isolated_pod(database: Database, pod: str) -> Iterator[None]:
    """A pod that only its own node reaches: the node forwards no packet of it, not even of open connections."""
    status = database.cluster.get("pod", pod, "-n", NAMESPACE)
    node, address = node_named(status["spec"]["nodeName"]), status["status"]["podIP"]
    nft = ["ip", "netns", "exec", node.namespace, "nft"]
    rules = (
        "add table ip cut",
        "add chain ip cut forward { type filter hook forward priority -300 ; }",
        f"add rule ip cut forward ip saddr {address} drop",
        f"add rule ip cut forward ip daddr {address} drop",
    )
    try:
        for rule in rules:
            run([*nft, rule])
        yield
    finally:
        run([*nft, "delete table ip cut"])


def bound_volumes() -> None:
    """Give each node's volumes a file system of their own, of which there is an end; before any volume is made."""
    for node in lifecycle.current():
        (anchor, *_) = cgroups.running(node.name, "anchor")
        inside = ["nsenter", f"--target={anchor}", "--mount", "--"]
        mounted = run([*inside, "findmnt", "--noheadings", "--output", "FSTYPE", VOLUMES]).split()
        if mounted[-1] == "tmpfs":
            continue
        assert not list(node_path(node, VOLUMES).iterdir()), f"{node.name} has volumes: run 'make down' first"
        run([*inside, "mount", "-t", "tmpfs", "-o", f"size={VOLUMES_SIZE}m,mode=0777", "tmpfs", VOLUMES])


@contextlib.contextmanager
def full_volumes(node: Node) -> Iterator[None]:
    """A node whose volumes have no byte left."""
    (anchor, *_) = cgroups.running(node.name, "anchor")
    ballast = Path(f"/proc/{anchor}/root{VOLUMES}/ballast")
    try:
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(2**20))
                file.flush()
        # Until what is freed meanwhile is taken too.
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
                file.write(bytes(4096))
        yield
    finally:
        ballast.unlink(missing_ok=True)
