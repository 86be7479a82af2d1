"""NetworkPolicy manifests read into rules, with the API server's defaults filled in and its refusals kept."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Any

from .documents import EMPTY
from .network_selectors import EVERYTHING, RefusedManifestError, Selector, parse_selector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Object

PROTOCOLS = ("TCP", "UDP", "SCTP")
HIGHEST_PORT = 65535

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Block:
    """An address range without its exceptions."""

    network: Network
    exceptions: tuple[Network, ...] = ()

    def may_contain(self, addresses: Iterable[Network]) -> bool:
        """Say whether an address out of `addresses` may lie in the block; exact for single addresses."""
        for candidate in addresses:
            if candidate.version != self.network.version or not candidate.overlaps(self.network):
                continue
            common = max(candidate, self.network, key=lambda network: network.prefixlen)
            if not any(_contains(exception, common) for exception in self.exceptions):
                return True
        return False

    def __str__(self) -> str:
        without = ", ".join(map(str, self.exceptions))
        return f"{self.network}{f' except {without}' if without else ''}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a rule admits: a block, or pods chosen by their namespace's labels and their own.

    `namespaces` is None for "the policy's own namespace".
    """

    block: Block | None = None
    namespaces: Selector | None = None
    pods: Selector = EVERYTHING


@dataclass(frozen=True, slots=True)
class PortRange:
    """The ports one entry of a rule admits; a `name` is resolved on the destination pod."""

    protocol: str = "TCP"
    first: int = 1
    last: int = HIGHEST_PORT
    name: str = ""

    def admits(self, number: int, protocol: str, names: frozenset[str]) -> bool:
        """Say whether port `number`, called `names` on its pod for this protocol, is admitted."""
        if protocol != self.protocol:
            return False
        return self.name in names if self.name else self.first <= number <= self.last


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `ingress` or `egress`; None for peers or ports means "any"."""

    path: str
    peers: tuple[Peer, ...] | None
    ports: tuple[PortRange, ...] | None

    def admits_port(self, number: int, protocol: str, names: frozenset[str]) -> bool:
        """Say whether the rule's ports, if it names any, include this one."""
        return self.ports is None or any(port.admits(number, protocol, names) for port in self.ports)


@dataclass(frozen=True, slots=True)
class Policy:
    """A NetworkPolicy; None for a direction means that the policy does not isolate pods in it."""

    namespace: str
    name: str
    pods: Selector
    ingress: tuple[Rule, ...] | None
    egress: tuple[Rule, ...] | None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def rules(self, direction: str) -> tuple[Rule, ...] | None:
        """Give the rules of the direction "ingress" or "egress"."""
        return self.ingress if direction == "ingress" else self.egress


def parse_policy(item: Object) -> Policy:
    """Read a `networking.k8s.io/v1` NetworkPolicy.

    Raises RefusedManifestError for what the API server refuses.
    """
    spec = item.document.get("spec") or EMPTY
    where = f"{item.ref}: spec"
    # Without policyTypes a policy isolates for ingress, and for egress only when it has an egress rule.
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    if unknown := set(types) - {"Ingress", "Egress"}:
        raise RefusedManifestError(f"{where}.policyTypes has {sorted(unknown)[0]!r}; use Ingress and Egress.")
    return Policy(
        namespace=item.namespace,
        name=item.name,
        pods=parse_selector(spec.get("podSelector"), f"{where}.podSelector"),
        ingress=_parse_rules(spec, "ingress", "from", where) if "Ingress" in types else None,
        egress=_parse_rules(spec, "egress", "to", where) if "Egress" in types else None,
    )


def _parse_rules(spec: Mapping[str, Any], direction: str, peers_field: str, where: str) -> tuple[Rule, ...]:
    rules = []
    for index, given in enumerate(spec.get(direction) or ()):
        path = f"{direction}[{index}]"
        entry = given or EMPTY
        if unknown := set(entry) - {peers_field, "ports"}:
            raise RefusedManifestError(
                f"{where}.{path} has the unknown field {sorted(unknown)[0]!r}; use {peers_field} or ports."
            )
        peers = entry.get(peers_field) or ()
        ports = entry.get("ports") or ()
        rules.append(
            Rule(
                path=f"spec.{path}",
                peers=tuple(
                    parse_peer(peer, f"{where}.{path}.{peers_field}[{number}]")
                    for number, peer in enumerate(peers)
                )
                or None,
                ports=tuple(
                    parse_port(port, f"{where}.{path}.ports[{number}]") for number, port in enumerate(ports)
                )
                or None,
            )
        )
    return tuple(rules)


def parse_peer(peer: Mapping[str, Any], where: str) -> Peer:
    """Read a `NetworkPolicyPeer`: an ipBlock alone, or one or both selectors."""
    fields = {field for field in peer if peer[field] is not None}
    if not fields or fields - {"podSelector", "namespaceSelector", "ipBlock"}:
        raise RefusedManifestError(
            f"{where} needs podSelector, namespaceSelector or ipBlock, not {sorted(fields)}."
        )
    if "ipBlock" in fields:
        if len(fields) > 1:
            raise RefusedManifestError(f"{where} has an ipBlock beside a selector; give them as two entries.")
        return Peer(block=parse_block(peer["ipBlock"], f"{where}.ipBlock"))
    namespaces = None
    if "namespaceSelector" in fields:
        namespaces = parse_selector(peer["namespaceSelector"], f"{where}.namespaceSelector")
    return Peer(namespaces=namespaces, pods=parse_selector(peer.get("podSelector"), f"{where}.podSelector"))


def parse_block(block: Mapping[str, Any], where: str) -> Block:
    """Read an `IPBlock`; every exception must lie strictly inside its range."""
    network = parse_network(block.get("cidr"), f"{where}.cidr")
    exceptions = tuple(parse_network(cidr, f"{where}.except") for cidr in block.get("except") or ())
    for exception in exceptions:
        if exception == network or not _contains(network, exception):
            raise RefusedManifestError(
                f"{where}.except has {exception}, which is not strictly inside {network}."
            )
    return Block(network, exceptions)


def parse_network(cidr: Any, where: str) -> Network:
    """Read an address or CIDR; host bits are masked, as network plugins do."""
    try:
        return ip_network(str(cidr), strict=False)
    except ValueError as error:
        raise RefusedManifestError(
            f"{where} is {cidr!r}; give an address range such as 192.0.2.0/24."
        ) from error


def parse_port(port: Mapping[str, Any], where: str) -> PortRange:
    """Read a `NetworkPolicyPort`; the protocol defaults to TCP, no port means every port of the protocol."""
    protocol = port.get("protocol") or "TCP"
    if protocol not in PROTOCOLS:
        raise RefusedManifestError(f"{where}.protocol is {protocol!r}; use {', '.join(PROTOCOLS)}.")
    value, end = port.get("port"), port.get("endPort")
    if value is None or isinstance(value, str):
        if end is not None:
            raise RefusedManifestError(
                f"{where}.endPort is {end} beside the port {value!r}; a range needs a number in port."
            )
        return PortRange(protocol=protocol, name=value or "")
    last = value if end is None else end
    if not 1 <= value <= last <= HIGHEST_PORT:
        raise RefusedManifestError(
            f"{where} is the range {value} to {last}; ports rise within 1 to {HIGHEST_PORT}."
        )
    return PortRange(protocol=protocol, first=value, last=last)


def _contains(outer: Network, inner: Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
