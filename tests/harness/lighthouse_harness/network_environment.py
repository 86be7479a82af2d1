"""What a chart meets in its cluster: addresses, DNS, Prometheus, an ingress controller, the API server."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .model import Object, make_object
from .network_endpoints import Endpoint, EndpointKind, Port, outside
from .network_policies import Network, parse_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NODE = "node"
"""The endpoint that stands for each pod's own node, where kubelet's probes come from."""
API_SERVER = "api-server"
METADATA = "metadata"
"""The cloud's metadata service at 169.254.169.254, which hands out credentials."""
INTERNET = "internet"
DNS = "kube-system/coredns"
PROMETHEUS = "monitoring/prometheus"
INGRESS_CONTROLLER = "ingress-controller/controller"


@dataclass(frozen=True)
class Environment:
    """The cluster around what is under test.

    Policies are judged after Services are resolved, so peers are pods and addresses, never Service
    addresses. The API server is met at its node's address.
    """

    objects: tuple[Object, ...] = ()
    """Namespaces, workloads, Services and policies that are there already."""
    peers: tuple[Endpoint, ...] = ()
    """Endpoints that are not pods."""
    pod_networks: tuple[Network, ...] = ()
    node_networks: tuple[Network, ...] = ()
    blocks_select_pods: bool = True
    """Whether an ipBlock also admits pods in its range, as the API says. Cilium never lets it."""
    dns: str = DNS
    """Pattern of the endpoints that answer DNS."""
    prometheus: str = PROMETHEUS
    """Pattern of the endpoints that scrape what monitors select."""
    ingress_controller: str = INGRESS_CONTROLLER
    """Pattern of the endpoints that serve Ingress and Gateway API routes."""
    api_server: str = API_SERVER
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of namespaces that exist without a manifest."""

    def plus(self, objects: Iterable[Object] = (), peers: Iterable[Endpoint] = ()) -> Environment:
        """The same environment with more in it."""
        return replace(self, objects=(*self.objects, *objects), peers=(*self.peers, *peers))


def workload(name: str, labels: Mapping[str, str], *ports: Port) -> Object:
    """A Deployment `namespace/name` of one container that listens on `ports`."""
    namespace, _, own_name = name.partition("/")
    declared = [
        {"containerPort": port.number, "protocol": port.protocol, "name": port.name} for port in ports
    ]
    template = {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": own_name, "image": own_name, "ports": declared}]},
    }
    return make_object(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": own_name, "namespace": namespace},
            "spec": {"selector": {"matchLabels": dict(labels)}, "template": template},
        }
    )


def default_environment(
    pod_network: str = "10.244.0.0/16",
    node_network: str = "172.18.0.0/16",
    api_server: str = "172.18.0.2",
) -> Environment:
    """A cluster with CoreDNS, Prometheus Operator's Prometheus and an ingress controller.

    Around it are the pods' own node with its kubelet (port 10250), the API server (port 6443 of a node),
    the metadata service and a public address.
    """
    node_networks = (parse_network(node_network, "node network"),)
    kubelet = Port(10250, name="kubelet")
    return Environment(
        pod_networks=(parse_network(pod_network, "pod network"),),
        node_networks=node_networks,
        objects=(
            workload(
                DNS,
                {"k8s-app": "kube-dns"},
                Port(53, "UDP", "dns"),
                Port(53, "TCP", "dns-tcp"),
            ),
            workload(PROMETHEUS, {"app.kubernetes.io/name": "prometheus"}, Port(9090, name="http-web")),
            workload(
                INGRESS_CONTROLLER,
                {"app.kubernetes.io/name": "ingress-controller"},
                Port(8080, name="http"),
                Port(8443, name="https"),
            ),
        ),
        peers=(
            Endpoint(name=NODE, kind=EndpointKind.NODE, addresses=node_networks, ports=(kubelet,)),
            outside(API_SERVER, api_server, ports=(6443,)),
            outside(METADATA, "169.254.169.254", ports=(80,), sends=False),
            outside(INTERNET, "203.0.113.10", ports=(80, 443)),
        ),
    )
