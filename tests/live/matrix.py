"""Who may reach whom on a running cluster, said twice: by the table of flows, and by the policies of the release.

The table gives the flows of the scenario (tests/chart/flow_scenarios.py) with its parties as live pods; the harness
judges the release's own NetworkPolicies with the pods' labels and addresses. A live matrix is expected only where both
agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import make_object
from lighthouse_harness.network_endpoints import outside
from lighthouse_harness.network_environment import Environment
from lighthouse_harness.network_flows import matching
from lighthouse_harness.reachability import Network, network_of
from tests.chart.flow_scenarios import expected
from tests.live.knocking import OPEN, REFUSED, SILENT, Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lighthouse_harness.network_endpoints import Endpoint
    from lighthouse_harness.network_flows import Flow
    from tests.chart.flow_scenarios import Scenario

CLOSED_PORT = 59_999
"""A port that no container of ours declares and nobody listens on."""
PROTOCOLS = ("TCP", "UDP")


@dataclass(frozen=True)
class Place:
    """The pods and addresses of a matrix, and the release's policies among them."""

    network: Network
    flows: tuple[Flow, ...]
    namespaces: tuple[str, ...]
    """Those of the release: what the table does not open there is closed."""

    def table(self, source: Endpoint, target: Endpoint, port: int, protocol: str) -> bool:
        """Whether a line of the table opens a connection; it says nothing of those among others."""
        if not {source.namespace, target.namespace} & set(self.namespaces):
            return True
        return any(
            source in matching([source], flow.sources)
            and target in matching([target], flow.destinations)
            and port in flow.ports
            and protocol in flow.protocols
            for flow in self.flows
        )

    def allowed(
        self, sources: Mapping[str, str], targets: Sequence[Target]
    ) -> tuple[dict[tuple[str, Target], str], list[str]]:
        """The answer that each source should get from each target, and the cells that table and policies see apart.

        `sources` gives the endpoint of each. What a pod sends to itself is no cell.
        """
        answers: dict[tuple[str, Target], str] = {}
        apart = []
        for name, endpoint in sources.items():
            for target in targets:
                if target.endpoint == endpoint:
                    continue
                source, destination = self.network.endpoint(endpoint), self.network.endpoint(target.endpoint)
                by_table = self.table(source, destination, target.port, target.protocol)
                by_policies = self.network.allows(endpoint, target.endpoint, target.port, target.protocol)
                if by_table != by_policies:
                    egress, ingress = self.network.explain(
                        endpoint, target.endpoint, target.port, target.protocol
                    )
                    apart.append(
                        f"{name} -> {target}: {'open' if by_table else 'closed'} by the table; {egress}; {ingress}"
                    )
                answers[name, target] = (OPEN if target.listens else REFUSED) if by_table else SILENT
        return answers, apart


def place(
    manifest: str, scenario: Scenario, pods: Iterable[Mapping[str, Any]], addresses: Mapping[str, str]
) -> Place:
    """The pods of an API server's answers under the policies of a release's manifest, and addresses that are no pods'.

    A party's pods are those of its workload, whatever ending the controller gave to their names.
    """
    policies = [item for item in read_objects(manifest, scenario.namespace) if item.kind == "NetworkPolicy"]
    assert policies, f"the manifest of {scenario.release} has no NetworkPolicy"
    objects = [make_object(dict(pod)) for pod in pods]
    around = Environment(peers=tuple(outside(name, address) for name, address in addresses.items()))
    flows = tuple(
        replace(
            flow,
            sources=tuple(f"{name}*" for name in flow.sources),
            destinations=tuple(f"{name}*" for name in flow.destinations),
        )
        for flow in expected(scenario)
    )
    return Place(network_of((*objects, *policies), around), flows, scenario.namespaces)


def endpoint_of(pod: Mapping[str, Any]) -> str:
    """The name of a pod among the endpoints."""
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def port_targets(name: str, pod: Mapping[str, Any]) -> list[Target]:
    """Every port that the pod's containers declare and one that none does, each over TCP and UDP."""
    spec = pod["spec"]
    sidecars = [one for one in spec.get("initContainers", []) if one.get("restartPolicy") == "Always"]
    declared = {
        (port["containerPort"], port.get("protocol", "TCP"))
        for container in (*sidecars, *spec["containers"])
        for port in container.get("ports", [])
    }
    numbers = sorted({number for number, _ in declared} | {CLOSED_PORT})
    return [
        Target(
            name, pod["status"]["podIP"], number, protocol, endpoint_of(pod), (number, protocol) in declared
        )
        for number in numbers
        for protocol in PROTOCOLS
    ]
