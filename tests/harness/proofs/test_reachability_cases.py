"""Every cell of every hand-written case, judged by the evaluator and by the naive second implementation."""

from __future__ import annotations

from collections import Counter

import pytest

from lighthouse_harness.network_endpoints import Endpoint, EndpointKind, outside
from lighthouse_harness.network_environment import Environment
from lighthouse_harness.network_policies import parse_network
from lighthouse_harness.reachability import Network, network_of

from .network_cases.case import NODE_NETWORK, POD_NETWORK, Case, all_cases
from .network_cases.naive import Cluster

CASES = all_cases()


def network(case: Case) -> Network:
    peers = [
        Endpoint("node", EndpointKind.NODE) if name == "node" else outside(name, address)
        for name, address in case.peers.items()
    ]
    environment = Environment(
        peers=tuple(peers),
        pod_networks=(parse_network(POD_NETWORK, "pods"),),
        node_networks=(parse_network(NODE_NETWORK, "nodes"),),
        blocks_select_pods=case.blocks_select_pods,
    )
    return network_of(case.objects(), environment)


def naive(case: Case) -> Cluster:
    return Cluster(
        case.pods,
        case.policies,
        case.namespaces,
        case.peers,
        pod_network=POD_NETWORK,
        node_network=NODE_NETWORK,
        blocks_select_pods=case.blocks_select_pods,
    )


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_cell_is_as_written(case: Case) -> None:
    evaluated, second = network(case), naive(case)
    wrong = []
    names = [*case.pods, *case.peers]
    cells = [(s, d, *port) for port in case.ports() for s in names for d in names if s != d]
    assert cells or case.loopback
    for source, destination, port, protocol in cells:
        expected = case.expected(source, destination, port, protocol)
        decisions = evaluated.explain(source, destination, port, protocol)
        verdicts = {
            "evaluator": evaluated.allows(source, destination, port, protocol),
            "explanation": all(decision.allowed for decision in decisions),
            "naive": second.reaches(source, destination, port, protocol),
        }
        for who, verdict in verdicts.items():
            if verdict != expected:
                said = "; ".join(map(str, decisions))
                wrong.append(f"{who}: {source} -> {destination} {port}/{protocol} is {verdict}; {said}")
    wrong += [f"{pod} does not reach itself" for pod in case.loopback if not evaluated.allows(pod, pod, 80)]
    assert not wrong, "\n".join(wrong)


def test_there_are_at_least_eighty_cases_each_with_its_own_name() -> None:
    repeated = [name for name, count in Counter(case.name for case in CASES).items() if count > 1]
    assert not repeated
    assert len(CASES) >= 80
