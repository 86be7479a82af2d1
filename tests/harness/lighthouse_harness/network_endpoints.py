"""Who can send and receive: endpoints made from workloads, and from what lies around a cluster."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from .documents import EMPTY
from .model import ContainerRole
from .network_operated import operated_pods
from .network_policies import PROTOCOLS, Network, parse_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Container, Object, PodTemplate


class EndpointKind(StrEnum):
    """What an endpoint is to NetworkPolicy."""

    POD = "pod"
    NODE = "node"
    """The node a pod runs on: its traffic to the pod, such as kubelet's probes, cannot be forbidden."""
    OUTSIDE = "outside"
    """Any address that is neither a pod's nor the pod's own node's; only an ipBlock reaches it."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port on which an endpoint listens."""

    number: int
    protocol: str = "TCP"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """A sender and receiver; all replicas of a workload are one endpoint."""

    name: str
    """`namespace/name` of the workload; a bare name such as `internet` for what is not a pod."""
    kind: EndpointKind
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    ports: tuple[Port, ...] = ()
    addresses: tuple[Network, ...] = ()
    """Where it may be: one address if known, else the range it is taken from."""
    host_network: bool = False
    owned: bool = False
    """It comes from what is under test, not from the environment around it."""
    pod: PodTemplate | None = None
    sends: bool = True
    """It opens connections; what only listens is no source of cells."""

    @property
    def selectable(self) -> bool:
        """NetworkPolicy's selectors see it. Pods on the host's network count as their node."""
        return self.kind is EndpointKind.POD and not self.host_network

    @property
    def alone(self) -> bool:
        """It is one pod, so its traffic to itself is loopback, which no policy governs."""
        return self.pod is not None and self.pod.object.kind == "Pod"

    def names_of(self, number: int, protocol: str) -> frozenset[str]:
        """The names under which a policy can mean this port."""
        return frozenset(
            port.name
            for port in self.ports
            if port.number == number and port.protocol == protocol and port.name and self.selectable
        )

    def resolve(self, port: int | str, protocol: str = "TCP") -> tuple[int, ...]:
        """The numbers that `port` means here; none for a name that no container has."""
        if isinstance(port, int):
            return (port,)
        return tuple(
            sorted({own.number for own in self.ports if own.name == port and own.protocol == protocol})
        )

    def __str__(self) -> str:
        return self.name


def listening_ports(pod: PodTemplate) -> tuple[Port, ...]:
    """The declared ports of the containers that run as long as the pod."""
    return tuple(
        Port(int(port["containerPort"]), port.get("protocol") or "TCP", port.get("name") or "")
        for container in running_containers(pod)
        for port in container.ports
    )


def running_containers(pod: PodTemplate) -> tuple[Container, ...]:
    """The containers whose ports count: main containers and sidecars."""
    return tuple(
        container
        for container in pod.containers
        if container.role in (ContainerRole.MAIN, ContainerRole.SIDECAR)
    )


def outside(name: str, *addresses: str, ports: Iterable[Port | int] = (), sends: bool = True) -> Endpoint:
    """An endpoint outside the cluster's pods; plain numbers are TCP ports."""
    return Endpoint(
        name=name,
        kind=EndpointKind.OUTSIDE,
        addresses=tuple(parse_network(address, f"outside endpoint {name}") for address in addresses),
        ports=tuple(port if isinstance(port, Port) else Port(port) for port in ports),
        sends=sends,
    )


def pod_endpoints(
    objects: Iterable[Object],
    *,
    pod_networks: tuple[Network, ...],
    node_networks: tuple[Network, ...],
    owned: bool,
) -> list[Endpoint]:
    """One endpoint for each pod template, those of known operators included.

    Workloads of the same name get their kind appended. A Pod's address is its `status.podIP` if it has one.
    """
    given = tuple(objects)
    pods = [(i.name, i.pod) for i in given if i.pod is not None and i.kind != "PodTemplate"]
    pods += operated_pods(given)
    clashes = Counter((pod.namespace, own_name) for own_name, pod in pods)
    endpoints = []
    for own_name, pod in pods:
        name = f"{pod.namespace}/{own_name}"
        host_network = bool(pod.spec.get("hostNetwork"))
        endpoints.append(
            Endpoint(
                name=f"{name}:{pod.object.kind}" if clashes[pod.namespace, own_name] > 1 else name,
                kind=EndpointKind.POD,
                namespace=pod.namespace,
                labels=pod.labels,
                ports=listening_ports(pod),
                addresses=_own_addresses(pod) or (node_networks if host_network else pod_networks),
                host_network=host_network,
                owned=owned,
                pod=pod,
            )
        )
    return endpoints


def _own_addresses(pod: PodTemplate) -> tuple[Network, ...]:
    status = pod.object.document.get("status") or EMPTY
    address = status.get("podIP")
    return (parse_network(address, f"{pod.object.ref} status.podIP"),) if address else ()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service and what it leads to on each pod."""

    number: int
    protocol: str
    name: str
    target: int | str


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A Service, with the selector that finds its pods (None for one without)."""

    object: Object
    selector: Mapping[str, str] | None
    ports: tuple[ServicePort, ...]

    def port(self, wanted: int | str) -> ServicePort | None:
        """The port of that number or name."""
        for port in self.ports:
            if wanted in (port.number, port.name):
                return port
        return None

    def pods(self, endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
        """The pods it sends traffic to; none for a Service without selector."""
        if not self.selector:
            return ()
        wanted = self.selector.items()
        return tuple(
            endpoint
            for endpoint in endpoints
            if endpoint.kind is EndpointKind.POD
            and endpoint.namespace == self.object.namespace
            and wanted <= endpoint.labels.items()
        )


def parse_service(item: Object) -> Service:
    """Read a Service; a target port is the port's own number unless given."""
    spec: Mapping[str, Any] = item.document.get("spec") or EMPTY
    ports = []
    for port in spec.get("ports") or ():
        number = int(port["port"])
        ports.append(
            ServicePort(
                number=number,
                protocol=port.get("protocol") or PROTOCOLS[0],
                name=port.get("name") or "",
                target=port.get("targetPort") or number,
            )
        )
    selector = spec.get("selector") if spec.get("type") != "ExternalName" else None
    return Service(item, selector or None, tuple(ports))
