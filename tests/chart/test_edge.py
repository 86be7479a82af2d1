"""The edge: each preset says every promise in the words of its controller, and what would not work is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lighthouse_harness.go_modules import module_folder
from lighthouse_harness.manifests import merge
from lighthouse_harness.model import thaw
from lighthouse_harness.render import RenderError
from lighthouse_harness.schemas import catalog, crds_in, pinned_crds

from .conftest import HERE, WHOLE, request_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

HOSTS = ["lighthouse.example.com", "bridge.example.com"]
PRESETS: dict[str, dict[str, Any]] = {
    "traefik by ingress": {},
    "haproxy": {"controller": "haproxy"},
    "traefik by gateway": {"kind": "gateway"},
}
STREAMS = {"/events/stream", "/ws"}
GATEWAY_VERSIONS = ("v1.4.1", "v1.5.1", "v1.6.1")
"""Releases of the Gateway API whose schemas hold; that of 1.7 needs a Go that is not out for this toolchain."""
KNOWN = yaml.safe_load((HERE / "haproxy_annotations.yaml").read_text())
TRAEFIK = "traefik.ingress.kubernetes.io/router"
SERVICE = "traefik.ingress.kubernetes.io/service"


def edge(renderer: Renderer, preset: str, values: Mapping[str, Any] | None = None) -> Render:
    """The render of one preset with two hosts, over values of the edge."""
    chosen = merge(merge(PRESETS[preset], {"hosts": HOSTS}), dict(values or {}))
    return whole(renderer, {"edge": chosen})


def whole(renderer: Renderer, values: Mapping[str, Any]) -> Render:
    """The render of a release with all its parts, over these values; the metrics of the edge are read if it is Traefik."""
    read = values.get("edge", {}).get("controller", "traefik") == "traefik"
    parts = merge(WHOLE, {"monitoring": {"edgeMetrics": read}})
    return renderer.render(replace(request_for("default"), overrides=merge(parts, values)))


def ours(render: Render, kind: str) -> dict[str, Object]:
    """Objects of the edge of one kind, by what their name adds to that of the edge."""
    found = {
        item.name.removeprefix("lighthouse-edge").removeprefix("-"): item
        for item in render.objects
        if item.kind == kind and item.name.startswith("lighthouse-edge")
    }
    assert found, f"the edge renders no {kind}"
    return found


def middlewares(render: Render, route: Object, rule: int = 0) -> list[dict[str, Any]]:
    """The Middlewares of a route of Traefik, the outermost first."""
    specs = {item.name: thaw(item.document)["spec"] for item in ours(render, "Middleware").values()}
    if route.kind == "Ingress":
        references = route.annotations[f"{TRAEFIK}.middlewares"].split(",")
        assert all(name.startswith("lighthouse-") and name.endswith("@kubernetescrd") for name in references)
        return [specs[name.removeprefix("lighthouse-").removesuffix("@kubernetescrd")] for name in references]
    filters = thaw(route.document)["spec"]["rules"][rule]["filters"]
    assert all(entry["extensionRef"]["group"] == "traefik.io" for entry in filters)
    return [specs[entry["extensionRef"]["name"]] for entry in filters]


def traefik_chains(render: Render, preset: str) -> dict[str, dict[str, Any]]:
    """The Middlewares of streams and of all else, each chain as one mapping."""
    if preset == "traefik by ingress":
        routes = ours(render, "Ingress")
        chains = {"streams": middlewares(render, routes["streams"]), "rest": middlewares(render, routes[""])}
    else:
        route = ours(render, "HTTPRoute")[""]
        chains = {"streams": middlewares(render, route, 0), "rest": middlewares(render, route, 1)}
    return {
        name: {kind: spec for entry in chain for kind, spec in entry.items()}
        for name, chain in chains.items()
    }


def haproxy(render: Render) -> dict[str, str]:
    """What the Ingress tells HAProxy, without the prefix."""
    ingresses = ours(render, "Ingress")
    assert set(ingresses) == {""}
    annotations = ingresses[""].annotations
    return {
        key.removeprefix(KNOWN["prefix"]): text
        for key, text in annotations.items()
        if key.startswith(KNOWN["prefix"])
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_every_host_leads_to_the_bridge_with_the_certificate(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset)
    service = ours(render, "Service")[""]
    bridge = next(
        item for item in render.objects if item.kind == "Service" and item.name == "lighthouse-bridge"
    )
    assert service.at("spec.selector") == bridge.at("spec.selector")
    assert [port["port"] for port in thaw(service.document)["spec"]["ports"]] == [8765]
    if preset == "traefik by gateway":
        listeners = thaw(ours(render, "Gateway")[""].document)["spec"]["listeners"]
        secure = {item["hostname"]: item for item in listeners if item["protocol"] == "HTTPS"}
        assert list(secure) == HOSTS
        assert {item["tls"]["mode"] for item in secure.values()} == {"Terminate"}
        secrets = {item["tls"]["certificateRefs"][0]["name"] for item in secure.values()}
        assert secrets == {"lighthouse-edge-tls"}
        assert {item["allowedRoutes"]["namespaces"]["from"] for item in listeners} == {"Same"}
        route = thaw(ours(render, "HTTPRoute")[""].document)["spec"]
        assert route["hostnames"] == HOSTS
        assert {item["sectionName"] for item in route["parentRefs"]} == {
            item["name"] for item in secure.values()
        }
        return
    for name, ingress in ours(render, "Ingress").items():
        spec = thaw(ingress.document)["spec"]
        assert [rule["host"] for rule in spec["rules"]] == HOSTS
        tls = [{"hosts": HOSTS, "secretName": "lighthouse-edge-tls"}]
        assert spec.get("tls") == (None if name == "redirect" else tls), name


@pytest.mark.parametrize("preset", PRESETS)
def test_plain_http_is_redirected_and_leads_nowhere_else(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset, {"port": 8443})
    if preset == "haproxy":
        told = haproxy(render)
        assert (told["ssl-redirect"], told["ssl-redirect-port"]) == ("true", "8443")
        assert told["ssl-redirect-code"] in KNOWN["redirectCodes"]
    elif preset == "traefik by ingress":
        routes = ours(render, "Ingress")
        entries = {name: item.annotations[f"{TRAEFIK}.entrypoints"] for name, item in routes.items()}
        assert entries == {"": "websecure", "streams": "websecure", "redirect": "web"}
        redirect = {"redirectScheme": {"scheme": "https", "permanent": True, "port": "8443"}}
        assert middlewares(render, routes["redirect"]) == [redirect]
    else:
        route = thaw(ours(render, "HTTPRoute")["redirect"].document)["spec"]
        assert [item["sectionName"] for item in route["parentRefs"]] == ["http"]
        ((rule,),) = ([rule["filters"] for rule in route["rules"]],)
        assert rule == [
            {
                "type": "RequestRedirect",
                "requestRedirect": {"scheme": "https", "port": 8443, "statusCode": 301},
            }
        ]


@pytest.mark.parametrize(
    ("hsts", "text"),
    [
        ({}, "max-age=31536000"),
        ({"seconds": 60, "includeSubdomains": True}, "max-age=60; includeSubDomains"),
        ({"seconds": 0}, "max-age=0"),
    ],
)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_answer_over_tls_says_hsts(
    preset: str, hsts: dict[str, Any], text: str, renderer: Renderer
) -> None:
    render = edge(renderer, preset, {"hsts": hsts})
    if preset == "haproxy":
        assert haproxy(render)["response-set-header"] == f'Strict-Transport-Security "{text}"'
        return
    for chain in traefik_chains(render, preset).values():
        assert next(iter(chain)) == "headers", (
            "what refuses a request must be within, so that it says HSTS too"
        )
        assert chain["headers"] == {"customResponseHeaders": {"Strict-Transport-Security": text}}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_client_is_limited_by_its_address(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset, {"rateLimit": {"requestsPerSecond": 700, "burst": 50}})
    if preset == "haproxy":
        lines = haproxy(render)["backend-config-snippet"].splitlines()
        assert "stick-table type ipv6 size 100k expire 10s store gpc0,gpc0_rate(1s)" in lines
        assert "http-request track-sc2 src,ipmask(32,64)" in lines
        (limit,) = [line for line in lines if "status 429" in line]
        assert limit.endswith("hdr Retry-After 1 if { sc2_gpc0_rate ge 700 }")
        return
    for chain in traefik_chains(render, preset).values():
        # Without a depth it is the connection's address, whatever a client says of itself.
        by_address = {"ipStrategy": {"ipv6Subnet": 64}}
        assert chain["rateLimit"] == {
            "average": 700,
            "period": "1s",
            "burst": 50,
            "sourceCriterion": by_address,
        }


@pytest.mark.parametrize("preset", PRESETS)
def test_a_thousand_requests_a_second_are_the_default(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset)
    if preset == "haproxy":
        assert "sc2_gpc0_rate ge 1000 }" in haproxy(render)["backend-config-snippet"]
        return
    assert {chain["rateLimit"]["average"] for chain in traefik_chains(render, preset).values()} == {1000}


@pytest.mark.parametrize("preset", PRESETS)
def test_bodies_are_bounded_and_streams_are_not_kept_back(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset, {"maxBodyMiB": 3})
    if preset == "haproxy":
        (limit,) = [
            line for line in haproxy(render)["backend-config-snippet"].splitlines() if "status 413" in line
        ]
        assert limit.endswith("if { req.body_size gt 3145728 }")
        return
    chains = traefik_chains(render, preset)
    body = chains["rest"]["buffering"]
    assert body["maxRequestBodyBytes"] == body["memRequestBodyBytes"] == 3 * 2**20
    # Traefik's buffering holds an answer until it is whole, which a stream never is.
    assert "buffering" not in chains["streams"]
    if preset == "traefik by ingress":
        rules = thaw(ours(render, "Ingress")["streams"].document)["spec"]["rules"]
        assert {path["path"] for rule in rules for path in rule["http"]["paths"]} == STREAMS
    else:
        rules = thaw(ours(render, "HTTPRoute")[""].document)["spec"]["rules"]
        assert {match["path"]["value"] for match in rules[0]["matches"]} == STREAMS


@pytest.mark.parametrize("preset", PRESETS)
def test_the_controller_waits_for_bridges_as_long_as_it_is_told(preset: str, renderer: Renderer) -> None:
    render = edge(renderer, preset, {"timeouts": {"connectSeconds": 7, "answerSeconds": 90}})
    if preset == "haproxy":
        told = haproxy(render)
        lines = told["backend-config-snippet"].splitlines()
        assert (told["timeout-server"], "timeout tunnel 90s" in lines) == ("90s", True)
        assert "timeout connect 7s" in lines
        return
    transport = ours(render, "ServersTransport")[""]
    assert dict(transport.at("spec.forwardingTimeouts")) == {
        "dialTimeout": "7s",
        "responseHeaderTimeout": "90s",
        "idleConnTimeout": "10s",
    }
    if preset == "traefik by ingress":
        annotations = ours(render, "Service")[""].annotations
        assert annotations[f"{SERVICE}.serverstransport"] == "lighthouse-lighthouse-edge@kubernetescrd"
    else:
        (behind,) = thaw(ours(render, "TraefikService")[""].document)["spec"]["weighted"]["services"]
        assert (behind["name"], behind["port"]) == ("lighthouse-edge", 8765)
        assert behind["serversTransport"] == transport.name
        rules = thaw(ours(render, "HTTPRoute")[""].document)["spec"]["rules"]
        backend = {"group": "traefik.io", "kind": "TraefikService", "name": "lighthouse-edge"}
        assert [rule["backendRefs"] for rule in rules] == [[backend], [backend]]


def test_haproxy_adds_the_clients_address_and_asks_bridges_for_their_health(renderer: Renderer) -> None:
    told = haproxy(edge(renderer, "haproxy"))
    assert (told["forwarded-for"], told["check"], told["check-http"]) == ("true", "true", "GET /ready")
    assert "src-ip-header" not in told, "a header would let clients choose their address"
    assert set(told) <= set(KNOWN["ingress"])


def test_traefik_sends_again_only_what_no_bridge_saw(renderer: Renderer) -> None:
    for preset in ("traefik by ingress", "traefik by gateway"):
        for chain in traefik_chains(edge(renderer, preset), preset).values():
            assert list(chain)[-1] == "retry", "nearest to the bridge, so that a body is not counted twice"
            assert chain["retry"]["attempts"] == 3


def test_annotations_of_a_user_do_not_undo_a_promise(renderer: Renderer) -> None:
    theirs = {"haproxy.org/ssl-redirect": "false", "example.com/note": "x"}
    ingress = ours(edge(renderer, "haproxy", {"annotations": theirs}), "Ingress")[""]
    assert ingress.annotations["haproxy.org/ssl-redirect"] == "true"
    assert ingress.annotations["example.com/note"] == "x"


def test_a_shared_gateway_is_used_and_not_made(renderer: Renderer) -> None:
    shared = {"gateway": {"name": "shared", "namespace": "gateways", "listeners": {"http": ""}}}
    render = edge(renderer, "traefik by gateway", shared)
    assert not [item for item in render.objects if item.kind == "Gateway"]
    routes = ours(render, "HTTPRoute")
    assert set(routes) == {""}, "without a listener of plain HTTP there is nothing to redirect"
    (parent,) = thaw(routes[""].document)["spec"]["parentRefs"]
    assert parent == {"name": "shared", "namespace": "gateways", "sectionName": "https"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"edge": {"hosts": []}}, "edge.hosts is empty; name the hosts"),
        (
            {"bridge": {"trustedProxies": []}},
            "bridge.trustedProxies is empty, so sessions would not be bound to their client's address",
        ),
        (
            {"networkPolicies": {"edge": []}},
            "networkPolicies.edge is empty, so the controller would not reach",
        ),
        (
            {"bridge": {"enabled": False}, "agents": {"enabled": False}},
            "the edge leads to the bridge of its own",
        ),
        (
            {"edge": {"controller": "haproxy"}, "monitoring": {"edgeMetrics": True}},
            "monitoring.edgeMetrics is true but edge.controller is haproxy; the alert and the dashboard read Traefik's",
        ),
        (
            {"edge": {"kind": "gateway", "controller": "haproxy"}},
            'edge.kind is "gateway" but edge.controller is "haproxy", which serves no HTTPRoute; set edge.kind',
        ),
        (
            {
                "edge": {
                    "kind": "gateway",
                    "gateway": {"name": "shared"},
                    "tls": {"maker": "issuer", "issuer": {"name": "letsencrypt"}},
                }
            },
            "the certificate of a Gateway that exists is not this release's; give that Gateway one",
        ),
        (
            {"edge": {"kind": "gateway", "gateway": {"namespace": "gateways"}}},
            'edge.gateway.namespace is "gateways" but edge.gateway.name is empty; name the Gateway',
        ),
        ({"edge": {"maxBodyMiB": 11}}, "maxBodyMiB"),
        ({"edge": {"hosts": ["*.example.com"]}}, "hosts"),
        ({"edge": {"timeouts": {"answerSeconds": 30}}}, "answerSeconds"),
    ],
)
def test_what_would_not_work_is_refused(values: dict[str, Any], sentence: str, renderer: Renderer) -> None:
    with pytest.raises(RenderError) as refused:
        renderer.render(replace(request_for("default"), overrides=merge(WHOLE, values)))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("values", "api"),
    [({}, "traefik.io/v1alpha1/Middleware"), ({"kind": "gateway"}, "gateway.networking.k8s.io/v1/HTTPRoute")],
)
def test_a_cluster_without_the_kinds_is_told_so(values: dict[str, Any], api: str, renderer: Renderer) -> None:
    request = replace(request_for("default"), overrides=merge(WHOLE, {"edge": values}))
    apis = tuple(known for known in request.api_versions if known != api)
    assert len(apis) < len(request.api_versions)
    with pytest.raises(
        RenderError, match=f"edge.enabled needs the API {api}, which the cluster does not have"
    ):
        renderer.render(replace(request, api_versions=apis))


def gateway_crds(version: str) -> tuple[Object, ...]:
    """The definitions of the standard channel of a release of the Gateway API."""
    return crds_in(module_folder("sigs.k8s.io/gateway-api", version) / "config" / "crd" / "standard")


@pytest.mark.parametrize("version", GATEWAY_VERSIONS)
def test_the_routes_fit_each_release_of_the_gateway_api(version: str, renderer: Renderer) -> None:
    known = catalog("1.37").with_crds(gateway_crds(version))
    render = edge(renderer, "traefik by gateway")
    judged = [item for item in render.objects if item.group == "gateway.networking.k8s.io"]
    assert {item.kind for item in judged} == {"Gateway", "HTTPRoute"}
    assert {item.ref: known.problems(item) for item in judged} == {item.ref: () for item in judged}


@pytest.mark.heavy
def test_a_real_api_server_with_the_controllers_definitions_accepts_them(
    renderer: Renderer, api_server: ApiServer
) -> None:
    """The rules in CEL too, of each release of the Gateway API in turn."""
    api_server.add_crds(pinned_crds(("Middleware", "ServersTransport", "TraefikService")))
    told, tried = {}, 0
    for version in GATEWAY_VERSIONS:
        kinds = ("Gateway", "HTTPRoute")
        api_server.add_crds(crd for crd in gateway_crds(version) if crd.at("spec.names.kind") in kinds)
        for preset in PRESETS:
            for item in edge(renderer, preset).objects:
                if not item.name.startswith("lighthouse-edge"):
                    continue
                if not api_server.request("GET", f"/api/v1/namespaces/{item.namespace}").accepted:
                    api_server.add_namespace(item.namespace, {})
                tried += 1
                answer = api_server.apply(item)
                if not answer.accepted or answer.warnings:
                    told[version, preset, item.ref] = answer
    assert told == {}
    assert tried > 50
