"""Istio's resources admit what the table of flows opens at pods of ours and nothing else, and take mutual TLS alone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from ci.chart.flows import read_flows
from lighthouse_harness.manifests import merge
from lighthouse_harness.model import Object, Render, thaw
from lighthouse_harness.render import RenderError
from lighthouse_harness.schemas import pinned_crds

from .conftest import CHART
from .flow_scenarios import COMPONENTS, OPENING, SCENARIOS, TABLE, Scenario, request_of

if TYPE_CHECKING:
    from pathlib import Path

    from ci.chart.flows import Flow, Party
    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.render import Renderer

MESH = {"istio": {"enabled": True, "trustDomain": "mesh.example"}}
KINDS = ("PeerAuthentication", "AuthorizationPolicy")
COMPONENT = "app.kubernetes.io/component"
# A mesh is refused there: what answers ACME takes plain connections from outside.
MESHED = tuple(name for name in SCENARIOS if name != "with an edge that ACME asks")
PARTIES = {party.name: party for flow in read_flows(TABLE) for party in (flow.source, flow.destination)}


@dataclass(frozen=True, order=True)
class Admission:
    """One port of a party's pods that is open to one kind of sender."""

    receiver: str
    namespace: str
    kind: str
    """principals, namespaces or ipBlocks."""
    sender: str
    port: int


def meshed(renderer: Renderer, scenario: Scenario, *, chart: Path = CHART) -> Render:
    """The render of a scenario in a mesh."""
    inside = replace(scenario, values=merge(scenario.values, MESH))
    return renderer.render(replace(request_of(inside), chart=chart))


def _listed(scenario: Scenario, name: str, render: Render) -> list[Any]:
    """A value of the render that lists peers or ports."""
    found: Any = render.values
    for key in name.split("."):
        found = found[key]
    return list(found)


def _accounts(render: Render, party: Party, component: str) -> set[tuple[str, str]]:
    """Namespace and ServiceAccount of every pod of a component, those that CloudNativePG makes among them."""
    if party.operated_by:
        made = [item for item in render.objects if item.kind in ("Cluster", "Pooler")]
        return {(item.namespace, item.name) for item in made}
    return {
        (pod.namespace, pod.spec["serviceAccountName"])
        for pod in render.pods
        if pod.labels.get(COMPONENT) == component
    }


def _senders(flow: Flow, scenario: Scenario, render: Render) -> set[tuple[str, str]]:
    """Kind and name of who may begin a flow; a mesh knows no labels of pods, so their namespace stands for them."""
    party = flow.source
    if party.peers:
        return {
            ("ipBlocks", peer["ipBlock"]["cidr"])
            if "ipBlock" in peer
            else ("namespaces", peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
            for peer in _listed(scenario, party.peers, render)
        }
    present = [name for name in party.namespaces_of if name in scenario.components]
    if party.label:
        return {("namespaces", scenario.namespace_of(name)) for name in present}
    return {
        ("principals", f"mesh.example/ns/{namespace}/sa/{account}")
        for name in present
        for namespace, account in _accounts(render, party, name)
    }


def _applies(flow: Flow, scenario: Scenario) -> bool:
    """Whether one of the values that the flow needs is set."""
    return not flow.when or any(scenario.value(name) for name in flow.when)


def table(scenario: Scenario, render: Render) -> set[Admission]:
    """What the table of flows opens at pods of ours."""
    found = set()
    for flow in read_flows(TABLE):
        receiver = flow.destination
        if receiver.peers or not _applies(flow, scenario):
            continue
        assert flow.protocols == ("TCP",), f"Istio sees TCP alone, but {flow} is of {flow.protocols}"
        ports = flow.ports or tuple(_listed(scenario, flow.ports_value, render))
        found |= {
            Admission(receiver.name, scenario.namespace_of(name), kind, sender, port)
            for name in receiver.namespaces_of
            if name in scenario.components
            for kind, sender in _senders(flow, scenario, render)
            for port in ports
        }
    return found


def _receiver(policy: Object, scenario: Scenario) -> str:
    """The party whose pods a policy selects, by their labels."""
    labels = dict(policy.at("spec.selector.matchLabels") or {})
    prefix = scenario.release if "lighthouse" in scenario.release else f"{scenario.release}-lighthouse"
    for party in PARTIES.values():
        own = {
            "app.kubernetes.io/name": "lighthouse",
            "app.kubernetes.io/instance": scenario.release,
            COMPONENT: party.component,
        }
        if party.operated_by:
            own = {party.operated_by: f"{prefix}-{party.component}"}
        if party.component and labels == own:
            return party.name
    raise AssertionError(f"{policy.ref} selects the pods of no party: {labels}")


def admitted(render: Render, scenario: Scenario) -> set[Admission]:
    """What the AuthorizationPolicies of a render admit; each rule must say who and where, in the ways known here."""
    found = set()
    for policy in render.select("AuthorizationPolicy"):
        spec = thaw(policy.document)["spec"]
        if spec == {}:
            continue
        receiver = _receiver(policy, scenario)
        assert set(spec) <= {"selector", "action", "rules"}, policy.ref
        assert spec["action"] == "ALLOW", policy.ref
        for rule in spec.get("rules", []):
            assert set(rule) == {"from", "to"}, f"{policy.ref} has a rule with {sorted(rule)} alone"
            for operation in rule["to"]:
                assert set(operation["operation"]) == {"ports"}, policy.ref
            found |= {
                Admission(receiver, policy.namespace, kind, sender, int(port))
                for origin in rule["from"]
                for kind, senders in origin["source"].items()
                for sender in senders
                for operation in rule["to"]
                for port in operation["operation"]["ports"]
            }
    return found


def strict(render: Render) -> set[tuple[str, str]]:
    """Namespace and selector of each PeerAuthentication that takes mutual TLS alone."""
    return {
        (item.namespace, str(sorted(dict(item.at("spec.selector.matchLabels") or {}).items())))
        for item in render.select("PeerAuthentication")
        if item.at("spec.mtls.mode") == "STRICT" and not item.at("spec.portLevelMtls")
    }


def closed(render: Render) -> set[tuple[str, str]]:
    """Namespace and selector of each AuthorizationPolicy: what it does not admit is closed to the pods it selects."""
    return {
        (item.namespace, str(sorted(dict(item.at("spec.selector.matchLabels") or {}).items())))
        for item in render.select("AuthorizationPolicy")
    }


def faults(render: Render, scenario: Scenario) -> list[str]:
    """Where the mesh differs from the table, or a namespace of ours is not closed."""
    wanted, found = table(scenario, render), admitted(render, scenario)
    selectors = {
        (item.namespace, _selector(item)) for item in render.select("NetworkPolicy") if _isolates(item)
    }
    return [
        *(f"open beyond the table: {one}" for one in sorted(found - wanted)),
        *(f"in the table, but closed: {one}" for one in sorted(wanted - found)),
        *(f"without mutual TLS: {one}" for one in sorted(selectors - strict(render))),
        *(f"open to everybody: {one}" for one in sorted(selectors - closed(render))),
    ]


def _selector(policy: Object) -> str:
    return str(sorted(dict(policy.at("spec.podSelector.matchLabels") or {}).items()))


def _isolates(policy: Object) -> bool:
    """Whether a NetworkPolicy is that of a namespace or of a component; those of capabilities only add to them."""
    labels = {party.label for party in PARTIES.values() if party.label}
    return labels.isdisjoint(dict(policy.at("spec.podSelector.matchLabels") or {}))


@pytest.mark.proves(22, level="rendered")
@pytest.mark.parametrize("name", MESHED)
def test_the_mesh_admits_exactly_the_table(name: str, renderer: Renderer) -> None:
    scenario = SCENARIOS[name]
    render = meshed(renderer, scenario)
    assert faults(render, scenario) == []
    assert strict(render) == closed(render)
    wearers = {party.component for party in PARTIES.values()} & set(scenario.components)
    assert len(closed(render)) >= len(wearers)


def test_the_scenarios_hold_every_flow_to_pods_of_ours(renderer: Renderer) -> None:
    opened = {
        (admission.receiver, admission.port)
        for scenario in (SCENARIOS[name] for name in MESHED)
        for admission in admitted(meshed(renderer, scenario), scenario)
    }
    assert opened == {
        (flow.destination.name, port)
        for flow in read_flows(TABLE)
        if flow.destination.component
        for port in flow.ports
    }


def test_in_a_shared_namespace_pods_of_others_stay_out_of_it(renderer: Renderer) -> None:
    render = meshed(renderer, SCENARIOS["shared namespace"])
    everybody = str([])
    assert ("lighthouse", everybody) not in strict(render) | closed(render)
    assert {("lighthouse-agents", everybody), ("lighthouse-fuse-csi", everybody)} <= strict(render) & closed(
        render
    )


def test_without_the_option_nothing_of_istio_is_rendered(renderer: Renderer) -> None:
    render = renderer.render(request_of(SCENARIOS["PostgreSQL"]))
    assert [item.ref for item in render.objects if item.kind in KINDS] == []


ADMITTING, WITH_POSTGRES = "clients and Prometheus admitted", "PostgreSQL"
SENT = "namespaces: [{{ $namespace | quote }}]\n"
BREAKS = (
    (ADMITTING, "istio.yaml", "mode: STRICT", "mode: PERMISSIVE"),
    (ADMITTING, "istio.yaml", "# Nobody is admitted.\nspec: {}", "spec:\n  rules: [{}]"),
    (ADMITTING, "istio.yaml", "  action: ALLOW\n", "  action: AUDIT\n"),
    (ADMITTING, "_istio.tpl", "range $.ports }}\n", "range list 8765 }}\n"),
    (ADMITTING, "_istio.tpl", SENT, 'namespaces: ["*"]\n'),
    (ADMITTING, "_istio.tpl", "ipBlocks: [{{ .ipBlock.cidr | quote }}]", 'ipBlocks: ["0.0.0.0/0"]'),
    (WITH_POSTGRES, "_istio.tpl", "- {{ $path | quote }}", '- "*"'),
    (WITH_POSTGRES, "_istio.tpl", 'printf "%s-pooler" $path', 'printf "%s" $path'),
)
"""Ways to break the templates: scenario, file, text and what stands in its place."""


@pytest.mark.parametrize("edit", BREAKS, ids=lambda edit: f"{edit[2].strip()[:30]} -> {edit[3].strip()[:30]}")
def test_a_broken_template_is_noticed(
    edit: tuple[str, str, str, str], tmp_path: Path, renderer: Renderer
) -> None:
    title, name, old, new = edit
    chart = tmp_path / "lighthouse"
    shutil.copytree(CHART, chart)
    file = chart / "templates" / name
    text = file.read_text()
    assert old in text, f"{name} no longer holds {old!r}: write the break anew"
    file.write_text(text.replace(old, new))
    scenario = SCENARIOS[title]
    render = meshed(renderer, scenario, chart=chart)
    try:
        found = faults(render, scenario)
    except AssertionError as error:
        found = [str(error)]
    assert found


@pytest.mark.parametrize("kind", KINDS)
def test_a_cluster_without_istio_is_told_so(kind: str, renderer: Renderer) -> None:
    request = request_of(Scenario(MESH))
    apis = tuple(api for api in request.api_versions if not api.endswith(kind))
    assert len(apis) < len(request.api_versions)
    with pytest.raises(
        RenderError, match=rf"istio\.enabled needs the API security\.istio\.io/v1/{kind}, which"
    ):
        renderer.render(replace(request, api_versions=apis))


def test_a_peer_whose_namespace_a_mesh_cannot_know_is_refused(renderer: Renderer) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"team": "build"}}}
    values = {"networkPolicies": {"clients": [peer]}}
    with pytest.raises(RenderError, match=r"peer in networkPolicies\.clients, whose labels are .*build"):
        meshed(renderer, Scenario(values))
    # Where Istio judges nothing, such a peer goes on as before.
    renderer.render(request_of(Scenario(values)))
    meshed(renderer, Scenario({"networkPolicies": {"database": {"peers": [peer]}}}))


@pytest.mark.heavy
@pytest.mark.proves(22, level="accepted")
def test_a_real_api_server_with_istios_definitions_accepts_them(
    renderer: Renderer, api_server: ApiServer
) -> None:
    crds = pinned_crds(KINDS)
    assert len(crds) == len(KINDS)
    api_server.add_crds(crds)
    told, tried = {}, 0
    for name in MESHED:
        for item in meshed(renderer, SCENARIOS[name]).objects:
            if item.kind not in KINDS:
                continue
            if not api_server.request("GET", f"/api/v1/namespaces/{item.namespace}").accepted:
                api_server.add_namespace(item.namespace, {})
            tried += 1
            answer = api_server.apply(item)
            if not answer.accepted or answer.warnings:
                told[name, item.ref] = answer
    assert told == {}
    assert tried > 100


def test_every_component_can_be_in_a_scenario() -> None:
    assert {party.component for party in PARTIES.values() if party.component} == set(COMPONENTS)
    assert OPENING["networkPolicies"]["clients"], "the scenarios admit clients by address and by namespace"
