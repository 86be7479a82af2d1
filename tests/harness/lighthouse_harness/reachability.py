"""Who reaches whom: the full matrix that NetworkPolicies leave open, with the reason for each cell.

A connection needs the source's egress and the destination's ingress. A pod that no policy selects for a
direction is open in it; otherwise one rule of one policy must admit the peer and the port. The matrix is
kept as one bit mask of sources for each destination port, so that hundreds of pods take well under a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .model import EmptySelectionError
from .network_endpoints import Endpoint, EndpointKind, Port, Service, parse_service, pod_endpoints
from .network_environment import Environment, default_environment
from .network_operated import operated_pods, operated_services
from .network_policies import HIGHEST_PORT, PROTOCOLS, Peer, Policy, PortRange, Rule, parse_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .model import Object
    from .network_selectors import Selector

POLICY_GROUP = "networking.k8s.io"


@dataclass(frozen=True, slots=True)
class Decision:
    """What one direction says of a cell, and the rules or policies that say it."""

    direction: str
    allowed: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.direction} {'allowed' if self.allowed else 'denied'}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One connection: from a source to one port of a destination."""

    source: Endpoint
    destination: Endpoint
    port: Port
    allowed: bool

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.port}"


@dataclass(frozen=True, slots=True)
class _Gate:
    """A rule with its policy, and the endpoints on either side of it as bit masks."""

    policy: Policy
    rule: Rule
    selected: int
    peers: int


class Network:
    """A set of endpoints with the policies among them; its matrix is computed when asked for."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        policies: Iterable[Policy] = (),
        *,
        services: Iterable[Service] = (),
        namespaces: Mapping[str, Mapping[str, str]] | None = None,
        blocks_select_pods: bool = True,
    ) -> None:
        """Precompute what every selector chooses; `namespaces` gives labels beyond the automatic one."""
        self.endpoints = tuple(endpoints)
        self.policies = tuple(policies)
        self.services = tuple(services)
        self._blocks_select_pods = blocks_select_pods
        self._index = {endpoint.name: number for number, endpoint in enumerate(self.endpoints)}
        if len(self._index) != len(self.endpoints):
            raise ValueError("Two endpoints have the same name; give each its own.")
        self._everything = (1 << len(self.endpoints)) - 1
        known = namespaces or {}
        self._namespaces = {
            name: dict(known.get(name, {})) | {"kubernetes.io/metadata.name": name}
            for name in {endpoint.namespace for endpoint in self.endpoints if endpoint.selectable}
        }
        self._in_namespace = {
            name: self._mask(e.selectable and e.namespace == name for e in self.endpoints)
            for name in self._namespaces
        }
        self._chosen: dict[Selector, int] = {}
        self._node = self._mask(endpoint.kind is EndpointKind.NODE for endpoint in self.endpoints)
        self._selected = [self._pods_of(policy) for policy in self.policies]

    @cached_property
    def _gates(self) -> dict[str, list[_Gate]]:
        return {
            direction: [
                _Gate(policy, rule, selected, self._peers(rule, policy.namespace))
                for policy, selected in zip(self.policies, self._selected, strict=True)
                for rule in policy.rules(direction) or ()
                if selected
            ]
            for direction in ("ingress", "egress")
        }

    @cached_property
    def _isolated(self) -> dict[str, int]:
        isolated = {"ingress": 0, "egress": 0}
        for policy, selected in zip(self.policies, self._selected, strict=True):
            for direction in isolated:
                if policy.rules(direction) is not None:
                    isolated[direction] |= selected
        return isolated

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint of that name; raises KeyError naming those that exist."""
        if name not in self._index:
            raise KeyError(f"There is no endpoint {name!r}; there are {', '.join(sorted(self._index))}.")
        return self.endpoints[self._index[name]]

    def service(self, namespace: str, name: str) -> Service | None:
        """The Service of that name."""
        for service in self.services:
            if (service.object.namespace, service.object.name) == (namespace, name):
                return service
        return None

    def allows(self, source: str, destination: str, port: int | str, protocol: str = "TCP") -> bool:
        """Say whether a connection to the port (declared or not) passes both ways.

        A named port passes if every port of that name on the destination does, and never if there is none.
        """
        target = self.endpoint(destination)
        sender = self._index[self.endpoint(source).name]
        numbers = target.resolve(port, protocol)
        return bool(numbers) and all(
            self._sources(self._index[destination], number, protocol) >> sender & 1 for number in numbers
        )

    def cells(self, extra_ports: Iterable[Port] = ()) -> Iterator[Cell]:
        """Every connection to every declared port (and to `extra_ports` of each endpoint), loopback apart."""
        extra = tuple(extra_ports)
        for number, destination in enumerate(self.endpoints):
            declared = {(port.number, port.protocol): port for port in (*extra, *destination.ports)}
            for port in declared.values():
                sources = self._sources(number, port.number, port.protocol)
                for sender, source in enumerate(self.endpoints):
                    is_itself = sender == number and (source.kind is not EndpointKind.POD or source.alone)
                    if source.sends and not is_itself:
                        yield Cell(source, destination, port, bool(sources >> sender & 1))

    def explain(
        self, source: str, destination: str, port: int, protocol: str = "TCP"
    ) -> tuple[Decision, Decision]:
        """The egress decision of the source and the ingress decision of the destination."""
        sender, target = self.endpoint(source), self.endpoint(destination)
        return (
            self._decide("egress", sender, target, Port(port, protocol)),
            self._decide("ingress", sender, target, Port(port, protocol)),
        )

    def isolates(self, endpoint: Endpoint, direction: str) -> bool:
        """Say whether some policy isolates the endpoint for "ingress" or "egress"."""
        return bool(self._isolated[direction] >> self._index[endpoint.name] & 1)

    def selected(self, policy: Policy) -> tuple[Endpoint, ...]:
        """The pods that the policy governs."""
        return self._members(self._pods_of(policy))

    def admitted(self, policy: Policy, peer: Peer) -> tuple[Endpoint, ...]:
        """The endpoints that one peer of the policy's rules admits."""
        return self._members(self._peer(peer, policy.namespace))

    def singled_out_ports(self) -> tuple[Port, ...]:
        """The port numbers at either end of every range that a rule admits."""
        return tuple(
            sorted({Port(n, e.protocol) for e in self._ranges() for n in (e.first, e.last)}, key=str)
        )

    def unused_port(self, protocol: str = "TCP") -> Port:
        """A port that no endpoint declares and no narrow rule admits: it stands for all the others."""
        spoken = {port.number for endpoint in self.endpoints for port in endpoint.ports}
        for entry in self._ranges():
            spoken.update(range(entry.first, entry.last + 1))
        return Port(next(number for number in range(HIGHEST_PORT, 0, -1) if number not in spoken), protocol)

    def _ranges(self) -> Iterator[PortRange]:
        """The ranges by number; one over most ports means "the rest" and is left out."""
        for gate in (*self._gates["ingress"], *self._gates["egress"]):
            for entry in gate.rule.ports or ():
                if not entry.name and entry.last - entry.first < HIGHEST_PORT // 4:
                    yield entry

    def _members(self, mask: int) -> tuple[Endpoint, ...]:
        return tuple(endpoint for number, endpoint in enumerate(self.endpoints) if mask >> number & 1)

    def _mask(self, chosen: Iterable[bool]) -> int:
        return sum(1 << number for number, is_chosen in enumerate(chosen) if is_chosen)

    def _choose(self, selector: Selector) -> int:
        if selector not in self._chosen:
            self._chosen[selector] = self._mask(
                endpoint.selectable and selector.matches(endpoint.labels) for endpoint in self.endpoints
            )
        return self._chosen[selector]

    def _pods_of(self, policy: Policy) -> int:
        return self._choose(policy.pods) & self._in_namespace.get(policy.namespace, 0)

    def _peers(self, rule: Rule, namespace: str) -> int:
        if rule.peers is None:
            return self._everything
        peers = 0
        for peer in rule.peers:
            peers |= self._peer(peer, namespace)
        return peers

    def _peer(self, peer: Peer, namespace: str) -> int:
        if peer.block is not None:
            return self._mask(
                peer.block.may_contain(endpoint.addresses)
                and (self._blocks_select_pods or not endpoint.selectable)
                for endpoint in self.endpoints
            )
        if peer.namespaces is None:
            return self._choose(peer.pods) & self._in_namespace.get(namespace, 0)
        within = 0
        for name, labels in self._namespaces.items():
            if peer.namespaces.matches(labels):
                within |= self._in_namespace[name]
        return self._choose(peer.pods) & within

    @cached_property
    def _columns(self) -> list[tuple[int, list[tuple[int, Rule]], list[tuple[int, Rule]]]]:
        """For each destination: who passes whatever the port, and the rules that let others in and out."""
        columns = []
        for number, destination in enumerate(self.endpoints):
            bit = 1 << number
            entering = [(g.peers, g.rule) for g in self._gates["ingress"] if g.selected & bit]
            leaving = [(g.selected, g.rule) for g in self._gates["egress"] if g.peers & bit]
            always = self._node if self._isolated["ingress"] & bit else self._everything
            loopback = bit if destination.alone else 0
            columns.append((always | loopback, entering, leaving))
        return columns

    def _sources(self, destination: int, number: int, protocol: str) -> int:
        """Bit mask of the endpoints that reach this port."""
        names = self.endpoints[destination].names_of(number, protocol)
        entering, ingress, egress = self._columns[destination]
        for peers, rule in ingress:
            if peers & ~entering and rule.admits_port(number, protocol, names):
                entering |= peers
        leaving = self._everything & ~self._isolated["egress"]
        if self.endpoints[destination].alone:
            leaving |= 1 << destination
        for selected, rule in egress:
            if selected & ~leaving and rule.admits_port(number, protocol, names):
                leaving |= selected
        return entering & leaving

    def _decide(self, direction: str, source: Endpoint, destination: Endpoint, port: Port) -> Decision:
        governed, peer = (source, destination) if direction == "egress" else (destination, source)
        bit, peer_bit = 1 << self._index[governed.name], 1 << self._index[peer.name]
        if source is destination and source.alone:
            return Decision(direction, True, "a pod always reaches itself")
        if direction == "ingress" and peer.kind is EndpointKind.NODE:
            return Decision(direction, True, "a pod's own node always reaches it")
        if not governed.selectable:
            why = "runs on the host's network" if governed.kind is EndpointKind.POD else "is not a pod"
            return Decision(direction, True, f"{governed} {why}, so that no policy governs it")
        if not self._isolated[direction] & bit:
            return Decision(direction, True, f"no policy isolates {governed} for {direction}")
        gates = [gate for gate in self._gates[direction] if gate.selected & bit]
        names = destination.names_of(port.number, port.protocol)
        passing = [
            f"{gate.policy} {gate.rule.path}"
            for gate in gates
            if gate.peers & peer_bit and gate.rule.admits_port(port.number, port.protocol, names)
        ]
        if passing:
            return Decision(direction, True, "admitted by " + ", ".join(passing))
        isolating = [
            str(policy)
            for policy, selected in zip(self.policies, self._selected, strict=True)
            if selected & bit and policy.rules(direction) is not None
        ]
        near = [f"{gate.policy} {gate.rule.path}" for gate in gates if gate.peers & peer_bit]
        hint = f"; {', '.join(near)} admits {peer} on other ports" if near else f"; no rule admits {peer}"
        return Decision(direction, False, f"isolated by {', '.join(isolating)}{hint}")


def network_of(objects: Iterable[Object], environment: Environment | None = None) -> Network:
    """Build the network of rendered `objects` in their environment (by default a plain cluster's).

    An object of the environment gives way to a rendered one of the same kind and name. Raises
    EmptySelectionError when `objects` has no workload, and RefusedManifestError for a refused policy.
    """
    around = environment or default_environment()
    own = tuple(objects)
    if not any(item.pod for item in own) and not any(operated_pods(own)):
        raise EmptySelectionError("No workload was rendered, so that there is nothing to reach.")
    keys = {item.key for item in own}
    others = tuple(item for item in around.objects if item.key not in keys)
    endpoints = [
        endpoint
        for group, owned in ((own, True), (others, False))
        for endpoint in pod_endpoints(
            group, pod_networks=around.pod_networks, node_networks=around.node_networks, owned=owned
        )
    ]
    everything = (*own, *others)
    labels = {name: dict(known) for name, known in around.namespace_labels.items()}
    for item in everything:
        if item.kind == "Namespace":
            labels.setdefault(item.name, {}).update(item.labels)
    return Network(
        (*endpoints, *around.peers),
        [parse_policy(i) for i in everything if i.kind == "NetworkPolicy" and i.group == POLICY_GROUP],
        services=[
            *(parse_service(item) for item in everything if item.kind == "Service" and not item.group),
            *(parse_service(item) for item in operated_services(everything)),
        ],
        namespaces=labels,
        blocks_select_pods=around.blocks_select_pods,
    )


def other_ports(network: Network) -> tuple[Port, ...]:
    """One unused port of each protocol, to see what is open beyond the declared ports."""
    return tuple(network.unused_port(protocol) for protocol in PROTOCOLS)
