"""Exactly the table of flows is open: the rendered policies, judged by the harness, against the table itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci.chart.flows import read_flows
from ci.chart.site import OPERATED
from ci.chart.values import ValuesError
from lighthouse_harness.manifests import merge
from lighthouse_harness.model import Object, Render, make_object, thaw
from lighthouse_harness.network_endpoints import EndpointKind
from lighthouse_harness.network_flows import compare
from lighthouse_harness.network_rules import isolation
from lighthouse_harness.reachability import Network, network_of, other_ports
from tests.chart.chart_render import RefusedError, helm, helms

from .conftest import CHART, helm_majors, shipped_profiles
from .flow_scenarios import (
    ACME,
    COMPONENTS,
    EDGE,
    EXTERNAL,
    OPENING,
    OPERATOR,
    OWN,
    POSTGRES,
    SCENARIOS,
    TABLE,
    Scenario,
    expected,
    neighbours,
    network,
    request_of,
    surroundings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.findings import Verdict
    from lighthouse_harness.render import Renderer
    from lighthouse_harness.tally import Prover


WITH_REDIS = SCENARIOS["with Redis"].values


@pytest.mark.parametrize("major", helm_majors())
@pytest.mark.parametrize("name", SCENARIOS)
def test_exactly_the_table_is_open(name: str, major: int, renderer: Renderer, prove: Prover) -> None:
    scenario = SCENARIOS[name]
    verdict = compare(network(renderer.render(request_of(scenario, major)), scenario), expected(scenario))
    assert verdict.examined > 300
    prove(verdict)


SITE_PEERS = {**OPERATOR, "object-store": ["internet"], "monitoring": ["monitoring/prometheus"]}
"""What site.yaml lists, which only the shipped profiles have beside them."""


def test_exactly_the_table_is_open_in_every_profile(
    profile: str, renders: tuple[Render, ...], prove: Prover
) -> None:
    assert profile
    for render in renders:
        here = {item.labels.get("app.kubernetes.io/component") for item in render.objects}
        external = EXTERNAL if profile == "replicas" else {}
        if profile in shipped_profiles():
            stores = ("database", "redis")
            external = {"bridge": {name: {"own": render.values["bridge"][name]["own"]} for name in stores}}
        enabled = {
            name: {**external.get(name, {}), "enabled": name in here} for name in (*COMPONENTS, "edge")
        }
        policies = render.values["networkPolicies"]
        peers = {
            **({"monitoring": ["monitoring/prometheus"]} if policies["monitoring"] else {}),
            **({"edge": ["ingress-controller/controller"]} if policies["edge"] else {}),
            **(OPERATOR if policies["apiServer"]["peers"] else {}),
        }
        scenario = Scenario({**external, **enabled}, SITE_PEERS if profile in shipped_profiles() else peers)
        prove(compare(network(render, scenario), expected(scenario)))


def test_exactly_the_table_is_open_under_a_chart_that_depends_on_this_one(
    tmp_path: Path, renderer: Renderer, prove: Prover
) -> None:
    parent = tmp_path / "platform"
    shutil.copytree(CHART, parent / "charts" / "lighthouse")
    dependency = {"name": "lighthouse", "version": "0.1.0"}
    metadata = {"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(metadata))
    scenario = SCENARIOS["another release"]
    prove(
        compare(
            network(renderer.render(replace(request_of(scenario), chart=parent)), scenario),
            expected(scenario),
        )
    )


@pytest.fixture(name="plain", scope="module")
def _plain(renderer: Renderer) -> Network:
    scenario = SCENARIOS["default"]
    return network(renderer.render(request_of(scenario)), scenario)


def reached(place: Network, sender: str) -> set[tuple[str, str]]:
    """Whom an endpoint reaches and on which port, also on ports that nobody declares."""
    extra = (*other_ports(place), *place.singled_out_ports())
    cells = [cell for cell in place.cells(extra) if cell.source.name == sender]
    assert len(cells) > 100, f"{sender} has only {len(cells)} cells"
    return {(cell.destination.name, str(cell.port)) for cell in cells if cell.allowed}


@pytest.mark.parametrize("expert", ["architecture", "security"])
def test_an_agent_reaches_the_bridge_and_dns_and_nothing_else(plain: Network, expert: str) -> None:
    assert reached(plain, f"lighthouse-agents/lighthouse-agents-{expert}") == {
        ("lighthouse/lighthouse-bridge", "8765/TCP"),
        ("kube-system/coredns", "53/TCP"),
        ("kube-system/coredns", "53/UDP"),
    }


@pytest.mark.parametrize(
    "sender",
    [
        "lighthouse/lighthouse-bridge",
        "lighthouse-fuse-csi/lighthouse-fuse-csi",
        "lighthouse/unlabelled",
        "lighthouse-agents/unlabelled",
        "lighthouse-fuse-csi/unlabelled",
        "lighthouse-fuse-csi/labelled",
    ],
)
def test_bridge_driver_and_pods_without_a_capability_reach_nothing(plain: Network, sender: str) -> None:
    assert reached(plain, sender) == set()


@pytest.mark.parametrize("address", ["api-server", "metadata", "internet", "node"])
def test_no_pod_of_ours_reaches_an_address_outside(plain: Network, address: str) -> None:
    target = plain.endpoint(address)
    ports = {(port.number, port.protocol) for port in (*target.ports, *other_ports(plain))}
    senders = [endpoint.name for endpoint in plain.endpoints if endpoint.owned]
    assert len(senders) == 10
    assert not [s for s in senders for port, protocol in ports if plain.allows(s, address, port, protocol)]


@pytest.mark.parametrize("sender", ["unlabelled", "labelled", "disguised"])
def test_a_stranger_reaches_no_pod_in_our_namespaces(plain: Network, sender: str) -> None:
    ours = {endpoint.name for endpoint in plain.endpoints if endpoint.owned}
    assert ours.isdisjoint({name for name, _ in reached(plain, f"strangers/{sender}")})


def without(item: Object, path: tuple[str, int] | None) -> list[Object]:
    """A policy without one of its rules, or nothing in its place."""
    if path is None:
        return []
    manifest = thaw(item.document)
    del manifest["spec"][path[0]][path[1]]
    return [make_object(manifest)]


def losses(policies: Iterable[Object]) -> list[tuple[Object, tuple[str, int] | None]]:
    """Every way to lose a policy, or one rule of one."""
    return [
        (item, path)
        for item in policies
        for path in (
            None,
            *((side, n) for side in ("ingress", "egress") for n in range(len(item.at(f"spec.{side}") or ()))),
        )
    ]


@pytest.mark.parametrize(
    ("name", "policies_and_rules"), [("clients and Prometheus admitted", 8 + 9), ("PostgreSQL", 10 + 19)]
)
def test_no_policy_and_no_rule_is_idle(name: str, policies_and_rules: int, renderer: Renderer) -> None:
    """The matrix notices the loss of each, so each is needed, and the comparison sees all of them."""
    scenario = SCENARIOS[name]
    render, table = renderer.render(request_of(scenario)), expected(scenario)
    found = losses(render.select("NetworkPolicy"))
    assert len(found) == policies_and_rules
    for policy, path in found:
        rest = [item for item in render.objects if item is not policy] + without(policy, path)
        broken = network_of((*rest, *neighbours(scenario)), surroundings(scenario))
        assert compare(broken, table).findings, f"{policy.ref} {path or ''} is idle"


def checks(verdict: Verdict) -> set[str]:
    """The kinds of findings."""
    return {finding.check for finding in verdict.findings}


def test_a_line_less_is_an_excess_and_a_line_more_is_missing(renderer: Renderer) -> None:
    scenario = SCENARIOS["clients and Prometheus admitted"]
    place, table = network(renderer.render(request_of(scenario)), scenario), expected(scenario)
    for flow in table:
        rest = [other for other in table if other is not flow]
        assert checks(compare(place, rest)) == {"network/excess-flow"}, flow
    plain = SCENARIOS["default"]
    closed = network(renderer.render(request_of(plain)), plain)
    assert checks(compare(closed, table)) == {"network/missing-flow"}


def test_every_pod_is_isolated_by_the_policy_of_its_component(plain: Network) -> None:
    """Also where somebody deletes the denial of the whole namespace."""
    kept = [policy for policy in plain.policies if not policy.name.endswith("-default-deny")]
    assert len(kept) == len(plain.policies) - 3
    bare = Network(plain.endpoints, kept)
    pods = [e for e in plain.endpoints if e.kind is EndpointKind.POD and "/lighthouse-" in e.name]
    assert len(pods) == 4
    assert all(bare.isolates(pod, direction) for pod in pods for direction in ("ingress", "egress"))


@pytest.mark.parametrize("major", helm_majors())
def test_each_rule_stands_under_its_arrow(major: int) -> None:
    program = helms()[f"helm{major}"]
    assert program
    elsewhere: dict[str, Any] = {}
    for values in (OPENING, EXTERNAL, WITH_REDIS, POSTGRES, EDGE):
        elsewhere = merge(elsewhere, values)
    apis = [word for api in OPERATED for word in ("--api-versions", api)]
    text = "".join(
        helm(program, "template", "lighthouse", CHART, "--kube-version", "1.33.0", *apis, values=values)
        for values in (elsewhere, OWN, merge(OPENING, ACME))
    )
    flows = read_flows(TABLE)
    assert flows
    for flow in flows:
        assert f"    # {flow.source.name} --> {flow.destination.name}: {flow.why}\n    - " in text


@pytest.mark.parametrize(
    ("peer", "word"),
    [
        ({}, "ipBlock"),
        ({"namespaceSelector": {}}, "matchLabels"),
        ({"namespaceSelector": {"matchLabels": {}}}, "matchLabels"),
        ({"podSelector": {"matchLabels": {"a": "b"}}}, "podSelector"),
        ({"ipBlock": {"cidr": "10.0.0.0"}}, "cidr"),
        ({"ipBlock": {"cidr": "10.0.0.256/8"}}, "cidr"),
        ({"ipBlock": {"cidr": "10.0.0.0/33"}}, "cidr"),
        ({"ipBlock": {"cidr": "fd00::1::/64"}}, "cidr"),
        ({"ipBlock": {"cidr": "fd00::/129"}}, "cidr"),
        ({"namespaceSelektor": {"matchLabels": {"a": "b"}}}, "namespaceSelektor"),
    ],
)
def test_a_peer_that_would_admit_everybody_or_nobody_is_refused(peer: dict[str, Any], word: str) -> None:
    program = helms()["helm4"]
    assert program
    with pytest.raises(RefusedError, match=word):
        helm(program, "template", "x", CHART, values={"networkPolicies": {"clients": [peer]}})


def test_the_widest_values_open_no_more_than_their_ports(renderer: Renderer) -> None:
    everywhere = [{"ipBlock": {"cidr": cidr}} for cidr in ("0.0.0.0/0", "::/0")]
    wide = {"clients": everywhere, "monitoring": everywhere, "dns": {"peers": everywhere}}
    scenario = Scenario({"networkPolicies": wide})
    render = renderer.render(request_of(scenario))
    place = network(render, scenario)
    assert isolation(render).findings == ()
    for sender in (
        "lighthouse-agents/unlabelled",
        "lighthouse-fuse-csi/labelled",
        "lighthouse/lighthouse-bridge",
    ):
        assert reached(place, sender) == set()
    agent = reached(place, "lighthouse-agents/lighthouse-agents-security")
    assert {port for _, port in agent} == {"53/TCP", "53/UDP", "8765/TCP"}
    assert {name for name, port in agent if port == "8765/TCP"} == {"lighthouse/lighthouse-bridge"}


@pytest.mark.heavy
def test_a_real_api_server_accepts_the_policies_of_every_scenario(
    renderer: Renderer, api_server: ApiServer
) -> None:
    told = {}
    for name, scenario in SCENARIOS.items():
        for policy in renderer.render(request_of(scenario)).select("NetworkPolicy"):
            if not api_server.request("GET", f"/api/v1/namespaces/{policy.namespace}").accepted:
                api_server.add_namespace(policy.namespace, {})
            answer = api_server.apply(policy)
            if not answer.accepted or answer.warnings:
                told[name, policy.ref] = answer
    assert told == {}


PARTIES = {"a": {"component": "bridge", "what": "a"}, "b": {"peers": "networkPolicies.clients", "what": "b"}}
LINE = {"from": "b", "to": "a", "port": [1], "protocol": ["TCP"], "why": "w"}


@pytest.mark.parametrize(
    ("parties", "line", "fault"),
    [
        ({}, {"from": "c"}, "names no party as from"),
        ({}, {"port": [0]}, r"the port \[0\]"),
        ({}, {"port": []}, r"the port \[\]"),
        ({}, {"protocol": ["ICMP"]}, "ICMP"),
        ({}, {"when": "bridge.rego.url"}, "give a list of names of values"),
        ({}, {"why": ""}, "no reason"),
        ({}, {"why": "two\nlines"}, "no reason"),
        ({}, {"ports": [1]}, "lacks or adds ports"),
        ({}, {"to": "b"}, "no side with pods of ours"),
        ({"c": {"what": "c"}}, {}, "exactly one of component, label, peers"),
        ({"c": {"peers": "x", "component": "bridge", "what": "c"}}, {}, "exactly one"),
        ({"c": {"peers": "x", "what": "c"}}, {}, "the party c is in no flow"),
        ({"c": {"label": "x", "what": "c"}}, {}, "namespacesOf"),
        ({"c": {"peer": "x", "what": "c"}}, {}, "unknown field peer"),
    ],
)
def test_a_wrong_line_of_the_table_is_named(
    parties: dict[str, Any], line: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "flows.yaml"
    path.write_text(yaml.safe_dump({"parties": PARTIES | parties, "flows": [LINE | line]}))
    with pytest.raises(ValuesError, match=fault) as refused:
        read_flows(path)
    assert str(path) in str(refused.value)
