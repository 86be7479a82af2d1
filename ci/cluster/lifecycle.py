"""The local cluster as a whole: start, look at, remove."""

from __future__ import annotations

import contextlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ci.cluster import cgroups, network
from ci.cluster.calico import define_resources, start_calico
from ci.cluster.control_plane import PKI, is_ready, server, start_control_plane, start_etcd, wait_ready
from ci.cluster.network import Node
from ci.cluster.node import start_containerd, start_kubelet
from ci.cluster.pki import Authority
from ci.cluster.processes import PRIVATE, create_node
from ci.console import Failure, run
from ci.settings import STATE, STATES

MAX_NODES = 9
RECORD = STATE / "cluster.json"


def nodes_of(count: int) -> list[Node]:
    """The nodes of a cluster of `count`."""
    if not 1 <= count <= MAX_NODES:
        raise Failure(f"NODES is {count} and must be from 1 to {MAX_NODES}.")
    return [Node(number) for number in range(1, count + 1)]


def current() -> list[Node]:
    """The nodes of the running cluster, none if there is no whole one."""
    try:
        count = json.loads(RECORD.read_text())["nodes"]
    except (OSError, ValueError, KeyError):
        return []
    return nodes_of(count)


def is_healthy(nodes: list[Node], programs: Path) -> bool:
    """Whether a cluster of these nodes and programs runs already, with all its processes."""
    try:
        recorded = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return False
    expected = {"calico-felix", "containerd", "kubelet", "kube-proxy"}
    running = cgroups.system_processes()
    whole = all(
        expected <= {name for name, pids in running.get(node.name, {}).items() if pids} for node in nodes
    )
    same = recorded == {"nodes": len(nodes), "programs": str(programs)}
    return same and whole and is_ready(nodes[0])


def start(nodes: list[Node], programs: Path, kubectl: Path, sandbox: str) -> None:
    """Start a cluster; whatever another one left is removed first."""
    network.check_host_routes()
    STATE.mkdir(parents=True, exist_ok=True, mode=0o755)
    network.create(nodes)
    for node in nodes:
        cgroups.prepare_node(node.name)
        create_node(node)
    authority = Authority(PKI, "kubernetes-ca")
    first = nodes[0]
    start_etcd(first, programs)
    start_control_plane(first, programs, authority)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda node: start_containerd(node, programs, sandbox), nodes))
    wait_ready(first)
    define_resources(kubectl, programs)
    for node in nodes:
        start_calico(node, programs, authority, server(first))
        start_kubelet(node, programs, authority, server(first))
    RECORD.write_text(json.dumps({"nodes": len(nodes), "programs": str(programs)}))


def remove() -> list[str]:
    """Remove the cluster, whole or in pieces; returns what was removed, for people."""
    removed = []
    if count := cgroups.end_all():
        removed.append(f"{count} processes")
    mounts = _mounts()
    for mount in reversed(mounts):
        run(["umount", "--lazy", mount])
    if mounts:
        removed.append(f"{len(mounts)} mounts")
    if namespaces := network.existing():
        removed.append(f"{len(namespaces)} network namespaces")
    network.remove()
    cgroups.remove_tree()
    if STATE.exists():
        shutil.rmtree(STATE)
        removed.append(str(STATE))
    if not list(
        STATES.glob("*-cluster")
    ):  # removing a mount point would unmount it in another cluster's nodes
        for path in PRIVATE:
            with contextlib.suppress(OSError):
                Path(path).rmdir()
    return removed


def _mounts() -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [mount for mount in mounts if mount.startswith(f"{STATE}/")]


def leftovers() -> list[str]:
    """Everything of a cluster that is on this machine: nothing after `remove`."""
    found = [f"control group {group}" for group in cgroups.leftovers()]
    found += [f"network namespace {name}" for name in network.existing()]
    found += [f"network link {network.HOST_LINK}"] if network.host_link_exists() else []
    found += [f"mount {mount}" for mount in _mounts()]
    return found + ([f"folder {STATE}"] if STATE.exists() else [])
