"""A user's own table of flows and environment, read from YAML files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .manifests import load_yaml
from .model import make_object
from .network_endpoints import Endpoint, Port, outside
from .network_environment import Environment, default_environment
from .network_flows import Flow, parse_flows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PATTERNS = {
    "dns": "dns",
    "prometheus": "prometheus",
    "ingressController": "ingress_controller",
    "apiServer": "api_server",
}
_NETWORKS = {"podNetwork": "pod_network", "nodeNetwork": "node_network", "apiServerAddress": "api_server"}
_FIELDS = {*_PATTERNS, *_NETWORKS, "objects", "peers", "namespaces", "blocksSelectPods"}


def read_flows(path: Path) -> tuple[Flow, ...]:
    """Read a YAML list of flows; raises ValueError naming the file, the row and its fault."""
    rows = load_yaml(path.read_text(encoding="utf-8"))
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} has no list of flows; write at least one with from, to, port and why.")
    try:
        return parse_flows(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_environment(path: Path) -> Environment:
    """Read what to add to or change in the default environment.

    `objects` (manifests), `peers` (name: {addresses, ports}) and `namespaces` (name: labels) add to it;
    `podNetwork`, `nodeNetwork`, `apiServerAddress`, `blocksSelectPods` and the patterns `dns`, `prometheus`,
    `ingressController` and `apiServer` change it. A peer takes the place of a known one of its name. Raises
    ValueError for any other field.
    """
    given = load_yaml(path.read_text(encoding="utf-8")) or {}
    if unknown := sorted(set(given) - _FIELDS):
        raise ValueError(
            f"{path} has the unknown field {unknown[0]!r}; known are {', '.join(sorted(_FIELDS))}."
        )
    networks = {argument: str(given[field]) for field, argument in _NETWORKS.items() if field in given}
    base = default_environment(**networks)
    peers = {peer.name: peer for peer in base.peers}
    peers |= {name: _peer(name, peer) for name, peer in (given.get("peers") or {}).items()}
    own = [make_object(manifest) for manifest in given.get("objects") or ()]
    replaced = {item.key for item in own}
    patterns: dict[str, Any] = {
        argument: str(given[field]) for field, argument in _PATTERNS.items() if field in given
    }
    return replace(
        base,
        objects=(*(item for item in base.objects if item.key not in replaced), *own),
        peers=tuple(peers.values()),
        namespace_labels=given.get("namespaces") or {},
        blocks_select_pods=bool(given.get("blocksSelectPods", True)),
        **patterns,
    )


def _peer(name: str, given: Mapping[str, Any]) -> Endpoint:
    ports = []
    for port in given.get("ports") or ():
        number, _, protocol = str(port).partition("/")
        ports.append(Port(int(number), protocol or "TCP"))
    return outside(name, *map(str, given.get("addresses") or ()), ports=ports)
