"""A second implementation of NetworkPolicy, written for plainness: no parsing, no masks, one cell at a time.

It shares nothing with the evaluator under test, so that a fault has to be made twice to go unseen.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

Manifest = dict[str, Any]


class Cluster:
    """Pods, outside addresses and policies as plain data."""

    def __init__(
        self,
        pods: dict[str, Manifest],
        policies: list[Manifest],
        namespaces: dict[str, dict[str, str]] | None = None,
        peers: dict[str, str] | None = None,
        *,
        pod_network: str,
        node_network: str,
        blocks_select_pods: bool = True,
    ) -> None:
        self.pods, self.policies, self.peers = pods, policies, peers or {}
        self.namespaces = namespaces or {}
        self.pod_network, self.node_network = pod_network, node_network
        self.blocks_select_pods = blocks_select_pods

    def reaches(self, source: str, destination: str, port: int, protocol: str) -> bool:
        if source == destination:
            return True
        return self._passes("Egress", source, destination, port, protocol) and self._passes(
            "Ingress", source, destination, port, protocol
        )

    def _passes(self, direction: str, source: str, destination: str, port: int, protocol: str) -> bool:
        subject, peer = (source, destination) if direction == "Egress" else (destination, source)
        if direction == "Ingress" and peer == "node":
            return True
        if subject not in self.pods or self.pods[subject].get("hostNetwork"):
            return True
        isolating = [policy for policy in self.policies if self._isolates(policy, subject, direction)]
        if not isolating:
            return True
        rules_field, peers_field = ("egress", "to") if direction == "Egress" else ("ingress", "from")
        for policy in isolating:
            for rule in (policy["spec"] or {}).get(rules_field) or []:
                peers, ports = rule.get(peers_field), rule.get("ports")
                peer_fits = not peers or any(self._is_peer(item, policy, peer) for item in peers)
                port_fits = not ports or any(
                    self._is_port(item, destination, port, protocol) for item in ports
                )
                if peer_fits and port_fits:
                    return True
        return False

    def _isolates(self, policy: Manifest, subject: str, direction: str) -> bool:
        spec = policy["spec"] or {}
        if subject.split("/", maxsplit=1)[0] != policy["metadata"]["namespace"]:
            return False
        if not fits(spec.get("podSelector") or {}, self.pods[subject]["labels"]):
            return False
        types = spec.get("policyTypes")
        if not types:
            return direction == "Ingress" or bool(spec.get("egress"))
        return direction in types

    def _is_peer(self, item: Manifest, policy: Manifest, peer: str) -> bool:
        if "ipBlock" in item:
            return self._is_in_block(item["ipBlock"], peer)
        if peer not in self.pods or self.pods[peer].get("hostNetwork"):
            return False
        namespace = peer.split("/", maxsplit=1)[0]
        if "namespaceSelector" in item:
            labels = dict(self.namespaces.get(namespace, {}))
            labels["kubernetes.io/metadata.name"] = namespace
            if not fits(item["namespaceSelector"], labels):
                return False
        elif namespace != policy["metadata"]["namespace"]:
            return False
        return fits(item.get("podSelector") or {}, self.pods[peer]["labels"])

    def _is_in_block(self, block: Manifest, peer: str) -> bool:
        if peer == "node":
            return False
        if peer not in self.pods:
            return in_block(block, self.peers[peer])
        pod = self.pods[peer]
        if not pod.get("hostNetwork") and not self.blocks_select_pods:
            return False
        if "ip" in pod:
            return in_block(block, pod["ip"])
        # An unknown address may be any of its network: look at every place where the verdict can change.
        network = ip_network(self.node_network if pod.get("hostNetwork") else self.pod_network)
        edges = [network]
        edges += [ip_network(cidr) for cidr in [block["cidr"], *block.get("except", [])]]
        candidates = []
        for edge in edges:
            first, last = int(edge.network_address), int(edge.broadcast_address)
            candidates += [first - 1, first, last, last + 1]
        return any(
            ip_address(candidate) in network and in_block(block, str(ip_address(candidate)))
            for candidate in candidates
            if 0 <= candidate < 2**32
        )

    def _is_port(self, item: Manifest, destination: str, port: int, protocol: str) -> bool:
        if item.get("protocol", "TCP") != protocol:
            return False
        wanted = item.get("port")
        if wanted is None:
            return True
        if isinstance(wanted, int):
            return wanted <= port <= int(item.get("endPort", wanted))
        if destination not in self.pods or self.pods[destination].get("hostNetwork"):
            return False
        return f"{port}/{protocol} {wanted}" in self.pods[destination]["ports"]


def in_block(block: Manifest, address: str) -> bool:
    """Whether one address lies in an ipBlock."""
    value = ip_address(address)
    if value not in ip_network(block["cidr"]):
        return False
    return all(value not in ip_network(cidr) for cidr in block.get("except", []))


def fits(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether labels meet a label selector."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if key not in labels or labels[key] != value:
            return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Manifest, labels: dict[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return key in labels and labels[key] in expression["values"]
    return key not in labels or labels[key] not in expression["values"]
