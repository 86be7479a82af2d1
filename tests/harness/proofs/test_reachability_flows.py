"""The table of flows: what is missing, what is open beyond it, and that nothing passes vacuously."""

from __future__ import annotations

import random
import time

import pytest

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import EmptySelectionError, Finding, Object, make_object
from lighthouse_harness.network_endpoints import Port
from lighthouse_harness.network_environment import default_environment, workload
from lighthouse_harness.network_flows import EXCESS_FLOW, MISSING_FLOW, compare, parse_flows
from lighthouse_harness.network_selectors import RefusedManifestError
from lighthouse_harness.reachability import Network, network_of

POLICIES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bridge, namespace: app}
spec:
  podSelector: {matchLabels: {app: bridge}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: agents}}}]
      ports: [{port: http}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: agent, namespace: agents}
spec:
  policyTypes: [Ingress, Egress]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: app}}}]
      ports: [{port: 8765}]
"""
TABLE: list[dict[str, object]] = [
    {"from": "agents/*", "to": "app/bridge", "port": "http", "why": "agents ask the bridge"}
]


def objects(policies: str = POLICIES) -> list[Object]:
    return [
        workload("app/bridge", {"app": "bridge"}, Port(8765, name="http"), Port(8080, name="metrics")),
        workload("agents/agent", {"app": "agent"}),
        *read_objects(policies, "app"),
    ]


def network(policies: str = POLICIES) -> Network:
    return network_of(objects(policies))


def found(policies: str, table: list[dict[str, object]] = TABLE) -> list[tuple[str, str]]:
    findings = compare(network(policies), parse_flows(table)).findings
    return [(finding.check, finding.observed) for finding in findings]


def test_a_network_that_is_exactly_the_table_has_no_finding() -> None:
    verdict = compare(network(), parse_flows(TABLE))
    assert verdict.findings == ()
    assert verdict.ok
    assert verdict.examined > 50


def test_a_closed_flow_is_missing_and_says_which_policy_closes_it() -> None:
    closed = POLICIES.replace("port: 8765", "port: 8766")
    (finding,) = compare(network(closed), parse_flows(TABLE)).findings
    assert finding == Finding(
        MISSING_FLOW,
        "Deployment/app/bridge",
        "",
        "agents/agent -> app/bridge 8765/TCP denied",
        "admit it, for agents ask the bridge: egress denied: isolated by agents/agent; "
        "agents/agent spec.egress[0] admits app/bridge on other ports",
    )


def test_a_flow_closed_on_both_sides_names_both() -> None:
    closed = POLICIES.replace("port: 8765", "port: 8766").replace(
        "metadata.name: agents", "metadata.name: agent"
    )
    (finding,) = compare(network(closed), parse_flows(TABLE)).findings
    assert "egress denied" in finding.fix
    assert "ingress denied: isolated by app/bridge; no rule admits agents/agent" in finding.fix


def test_an_open_connection_without_a_line_is_excess() -> None:
    wider = POLICIES.replace("ports: [{port: http}]", "ports: [{port: http}, {port: metrics}]")
    wider = wider.replace("port: 8765}", "port: 8080, endPort: 8765}")
    excess = found(wider)
    assert (EXCESS_FLOW, "agents/agent -> app/bridge 8080/TCP open") in excess
    assert {check for check, _ in excess} == {EXCESS_FLOW}


def test_a_rule_for_every_port_is_excess_beyond_the_declared_ones() -> None:
    wide = POLICIES.replace("      ports: [{port: http}]\n", "").replace("      ports: [{port: 8765}]\n", "")
    excess = [observed for check, observed in found(wide) if check == EXCESS_FLOW]
    assert "agents/agent -> app/bridge 8080/TCP open" in excess
    for protocol in ("TCP", "UDP", "SCTP"):
        assert f"agents/agent -> app/bridge any other {protocol} port open" in excess


def test_a_port_that_a_rule_opens_though_nothing_declares_it_is_excess() -> None:
    stale = POLICIES.replace("{port: http}", "{port: http}, {port: 9999}")
    stale = stale.replace("{port: 8765}", "{port: 8765}, {port: 9999}")
    assert (EXCESS_FLOW, "agents/agent -> app/bridge 9999/TCP open") in found(stale)


def test_without_policies_everything_is_excess_but_what_the_node_sends_and_the_metadata_service_never_does() -> (
    None
):
    excess = [observed for _, observed in found("")]
    assert "internet -> app/bridge 8765/TCP open" in excess
    assert "agents/agent -> metadata 80/TCP open" in excess
    assert "agents/agent -> node 10250/TCP open" in excess
    assert not [observed for observed in excess if observed.startswith(("node ->", "metadata ->"))]


def test_replicas_of_one_workload_count_as_a_flow() -> None:
    own = POLICIES.replace("metadata.name: agents", "metadata.name: app").replace(
        "policyTypes: [Ingress, Egress]\n  ingress", "policyTypes: [Ingress]\n  ingress"
    )
    assert (EXCESS_FLOW, "app/bridge -> app/bridge 8765/TCP open") in found(own)


def test_a_line_whose_side_is_not_there_is_a_finding_unless_optional() -> None:
    row: dict[str, object] = {"from": "app/redis", "to": "app/bridge", "port": 1, "why": "no such workload"}
    assert (MISSING_FLOW, "app/redis") in found(POLICIES, [*TABLE, row])
    assert found(POLICIES, [*TABLE, {**row, "optional": True}]) == []


def test_a_line_with_a_port_that_its_destination_lacks_is_a_finding() -> None:
    row: dict[str, object] = {"from": "agents/*", "to": "app/bridge", "port": "grpc", "why": "typed wrongly"}
    assert (MISSING_FLOW, "no TCP port grpc") in found(POLICIES, [*TABLE, row])


def test_a_line_for_every_port_covers_them_all() -> None:
    wide = POLICIES.replace("      ports: [{port: http}]\n", "").replace("      ports: [{port: 8765}]\n", "")
    row: dict[str, object] = {
        "from": "agents/*",
        "to": "app/bridge",
        "port": "*",
        "protocol": ["TCP", "UDP", "SCTP"],
        "why": "anything goes",
    }
    assert found(wide, [row]) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"from": "a", "to": "b", "port": 1}, "Flow 1 lacks 'why'"),
        ({"from": "a", "to": "b", "port": 1, "why": "", "prot": 1}, "Flow 1 has the unknown field 'prot'"),
        ({"from": "a", "to": "b", "port": 1, "why": "", "protocol": "tcp"}, "has the protocol 'tcp'"),
        ({"from": "a", "to": "b", "port": 70000, "why": ""}, "has the port 70000"),
    ],
)
def test_a_malformed_line_is_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_flows([row])


def test_nothing_to_reach_is_refused() -> None:
    with pytest.raises(EmptySelectionError, match="No workload"):
        network_of(read_objects(POLICIES, "app"))


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(KeyError, match="app/bridge"):
        network().allows("app/bridg", "agents/agent", 80)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"policyTypes": ["ingress"]}, "policyTypes has 'ingress'"),
        ({"podSelector": {"app": "x"}}, "unknown field 'app'"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "not 'Is'"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "has 0 values"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
            "has 1 values",
        ),
        ({"ingress": [{"to": []}]}, "unknown field 'to'"),
        ({"ingress": [{"from": [{}]}]}, r"needs podSelector, namespaceSelector or ipBlock"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]}, "two entries"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "ten"}}]}]}, "is 'ten'"),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}}]}]},
            "strictly inside",
        ),
        (
            {"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
            "strictly inside",
        ),
        ({"ingress": [{"ports": [{"port": 80, "protocol": "HTTP"}]}]}, "protocol is 'HTTP'"),
        ({"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]}, "needs a number"),
        ({"ingress": [{"ports": [{"endPort": 90}]}]}, "needs a number"),
        ({"ingress": [{"ports": [{"port": 90, "endPort": 80}]}]}, "the range 90 to 80"),
        ({"ingress": [{"ports": [{"port": 0}]}]}, "the range 0 to 0"),
    ],
)
def test_what_the_api_server_refuses_gets_no_verdict(spec: dict[str, object], message: str) -> None:
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p"},
        "spec": spec,
    }
    with pytest.raises(RefusedManifestError, match=message):
        network_of([*objects(""), make_object(policy)])


def test_workloads_of_one_name_and_different_kinds_are_told_apart() -> None:
    job = make_object(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "bridge", "namespace": "app"},
            "spec": {"template": {"spec": {"containers": []}}},
        }
    )
    names = {endpoint.name for endpoint in network_of([*objects(), job]).endpoints if endpoint.owned}
    assert names == {"app/bridge:Deployment", "app/bridge:Job", "agents/agent"}


def test_a_rendered_workload_replaces_the_environments() -> None:
    own = workload("kube-system/coredns", {"k8s-app": "kube-dns"}, Port(5353, "UDP", "dns"))
    endpoint = network_of([*objects(), own]).endpoint("kube-system/coredns")
    assert endpoint.owned
    assert [str(port) for port in endpoint.ports] == ["5353/UDP"]


def test_ports_of_sidecars_count_and_those_of_init_containers_do_not() -> None:
    pod = make_object(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "initContainers": [
                    {
                        "name": "proxy",
                        "restartPolicy": "Always",
                        "ports": [{"containerPort": 9, "name": "proxy"}],
                    },
                    {"name": "setup", "ports": [{"containerPort": 7, "name": "setup"}]},
                ],
                "containers": [{"name": "main", "ports": [{"containerPort": 8, "name": "main"}]}],
            },
        }
    )
    endpoint = network_of([pod], default_environment()).endpoint("default/p")
    assert {port.name for port in endpoint.ports} == {"proxy", "main"}


def test_two_hundred_pods_with_ten_ports_and_fifty_policies_take_seconds_at_most() -> None:
    pick = random.Random(7)  # noqa: S311 - a fixed made-up cluster
    ports = [Port(8000 + number, name=f"n{number}") for number in range(10)]
    pods = [
        workload(f"ns{number % 8}/p{number}", {"app": f"a{number % 40}", "tier": str(number % 5)}, *ports)
        for number in range(200)
    ]
    policies = [
        make_object(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": f"p{number}", "namespace": f"ns{number % 8}"},
                "spec": {
                    "podSelector": {"matchLabels": {"tier": str(number % 5)}},
                    "policyTypes": ["Ingress", "Egress"],
                    "ingress": [
                        {
                            "from": [
                                {
                                    "namespaceSelector": {},
                                    "podSelector": {"matchLabels": {"app": f"a{pick.randrange(40)}"}},
                                }
                            ],
                            "ports": [{"port": f"n{pick.randrange(10)}"}, {"port": 8000, "endPort": 8003}],
                        }
                        for _ in range(4)
                    ],
                    "egress": [{"to": [{"podSelector": {}}], "ports": [{"port": 8000 + pick.randrange(10)}]}],
                },
            }
        )
        for number in range(50)
    ]
    started = time.perf_counter()
    cells = sum(1 for _ in network_of([*pods, *policies]).cells())
    assert cells > 200 * 200 * 10
    assert time.perf_counter() - started < 4
