"""The cluster's networks: one network namespace a node, joined by a bridge in a namespace of its own.

The host has one leg on that bridge, with routes to the nodes and to the service addresses, so that kubectl and
a browser on the host work and nothing else of the host's network changes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from ci.console import Failure, run
from ci.settings import CLUSTER, HOST_ADDRESS, NODE_NETWORK, POD_NETWORK, SERVICE_NETWORK

SWITCH = f"{CLUSTER}-switch"
HOST_LINK = f"{CLUSTER}0"


@dataclass(frozen=True)
class Node:
    """A node of the cluster; `number` counts from 1."""

    number: int

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def namespace(self) -> str:
        return f"{CLUSTER}-{self.name}"

    @property
    def address(self) -> IPv4Address:
        return NODE_NETWORK[10 + self.number]

    @property
    def pods(self) -> IPv4Network:
        """The range of its pods' addresses."""
        return list(POD_NETWORK.subnets(new_prefix=24))[self.number - 1]


def _ip(*words: object, namespace: str = "") -> str:
    return run(["ip", *(["-n", namespace] if namespace else []), *map(str, words)])


def check_host_routes() -> None:
    """Refuse to start when the host already uses an address range that the cluster needs."""
    for route in json.loads(_ip("-json", "route", "show") or "[]"):
        if route["dst"] == "default" or route.get("dev") == HOST_LINK:
            continue
        for name, ours in (("NODE_NETWORK", NODE_NETWORK), ("SERVICE_NETWORK", SERVICE_NETWORK)):
            if IPv4Network(route["dst"], strict=False).overlaps(ours):
                raise Failure(
                    f"The host routes {route['dst']} through {route.get('dev')}, which overlaps the cluster's {ours}: "
                    f"choose another range, e.g. 'make up {name}={ours.supernet()[-1]}/{ours.prefixlen}'."
                )


def create(nodes: list[Node]) -> None:
    """Make the switch, the nodes' namespaces with routes between their pods, and the host's leg."""
    _ip("netns", "add", SWITCH)
    _ip("link", "add", "br0", "type", "bridge", namespace=SWITCH)
    _ip("link", "set", "br0", "up", namespace=SWITCH)
    _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", "host", "netns", SWITCH)
    _ip("link", "set", "host", "master", "br0", "up", namespace=SWITCH)
    _ip("addr", "add", f"{HOST_ADDRESS}/{NODE_NETWORK.prefixlen}", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")
    for node in nodes:
        _ip("netns", "add", node.namespace)
        _ip(
            "link",
            "add",
            "eth0",
            "netns",
            node.namespace,
            "type",
            "veth",
            "peer",
            "name",
            node.name,
            "netns",
            SWITCH,
        )
        _ip("link", "set", node.name, "master", "br0", "up", namespace=SWITCH)
        _ip(
            "addr", "add", f"{node.address}/{NODE_NETWORK.prefixlen}", "dev", "eth0", namespace=node.namespace
        )
        for link in ("lo", "eth0"):
            _ip("link", "set", link, "up", namespace=node.namespace)
        # kube-proxy answers service addresses of packets that have a route; where it leads does not matter.
        _ip("route", "add", "default", "via", HOST_ADDRESS, namespace=node.namespace)
        run(["ip", "netns", "exec", node.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    for node in nodes:
        for other in nodes:
            if other != node:
                _ip("route", "add", other.pods, "via", other.address, namespace=node.namespace)
    _ip("route", "add", SERVICE_NETWORK, "via", nodes[0].address)


def existing() -> list[str]:
    """Network namespaces of ours that exist."""
    folder = Path("/run/netns")
    ours = re.compile(rf"{CLUSTER}-(switch|n\d+)")
    return (
        sorted(path.name for path in folder.iterdir() if ours.fullmatch(path.name)) if folder.is_dir() else []
    )


def host_link_exists() -> bool:
    """Whether the host's leg is there."""
    return Path("/sys/class/net", HOST_LINK).exists()


def remove() -> None:
    """Remove all of it; the links and routes go with the namespaces."""
    if host_link_exists():
        _ip("link", "del", HOST_LINK)
    for namespace in existing():
        _ip("netns", "del", namespace)
