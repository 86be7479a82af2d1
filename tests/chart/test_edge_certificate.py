"""What the edge shows to clients: one place names the hosts and who makes the certificate."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.manifests import merge
from lighthouse_harness.model import thaw
from lighthouse_harness.render import RenderError
from lighthouse_harness.schemas import catalog, pinned_crds

from .conftest import WHOLE, request_for
from .test_edge import HOSTS, PRESETS, whole

if TYPE_CHECKING:
    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

SECRET = "lighthouse-edge-tls"
ACME: dict[str, Any] = {
    "maker": "acme",
    "acme": {"server": "https://acme.example/directory", "email": "a@example.com"},
}
AUTHORITY = "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"
GROUP = {"group": "cert-manager.io"}


def made(renderer: Renderer, preset: str, tls: dict[str, Any], maker: str = "none") -> Render:
    """The edge of a preset with a certificate that it is told of; without a mesh, which ACME does not know."""
    edge = merge(PRESETS[preset], {"hosts": HOSTS, "tls": tls})
    mesh = {"istio": {"enabled": False}, "global": {"certificates": {"maker": maker}}}
    return whole(renderer, mesh | {"edge": edge})


def shown(render: Render) -> list[Object]:
    """The Certificates that fill the Secret of the edge."""
    asked = render.select("Certificate", may_be_empty=True)
    return [item for item in asked if item.at("spec.secretName") == SECRET]


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_made_elsewhere_unless_told(preset: str, renderer: Renderer) -> None:
    render = made(renderer, preset, {}, "own")
    assert shown(render) == []
    assert SECRET not in {item.name for item in render.select("Secret")}
    # Not asked for by an annotation either, which a controller of certificates would take for a request.
    for item in render.objects:
        assert not [name for name in item.annotations if name.startswith("cert-manager.io/")], item.ref


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("tls", "maker", "issuer"),
    [
        (
            {"maker": "issuer", "issuer": {"name": "public", "kind": "Issuer"}},
            "none",
            {"name": "public", "kind": "Issuer", **GROUP},
        ),
        (ACME, "none", {"name": "lighthouse-edge", "kind": "Issuer", **GROUP}),
        (
            {"maker": "release"},
            "cert-manager",
            {"name": "lighthouse-authority", "kind": "ClusterIssuer", **GROUP},
        ),
    ],
    ids=["issuer", "acme", "release"],
)
def test_cert_manager_is_asked_once_for_all_hosts(
    preset: str, tls: dict[str, Any], maker: str, issuer: dict[str, str], renderer: Renderer
) -> None:
    if preset == "haproxy" and maker == "cert-manager":
        pytest.skip("needs another Secret, with the authority: test_edge_encryption")
    render = made(renderer, preset, tls, maker)
    (asked,) = shown(render)
    spec = thaw(asked.document)["spec"]
    assert (spec["dnsNames"], spec["usages"]) == (HOSTS, ["digital signature", "server auth"])
    assert "commonName" not in spec
    assert spec["issuerRef"] == issuer
    judged = [item for item in render.objects if item.group == "cert-manager.io"]
    assert {item.ref: catalog("1.37").problems(item) for item in judged} == {item.ref: () for item in judged}


@pytest.mark.parametrize(
    ("preset", "solver"),
    [
        ("traefik by ingress", {"ingress": {"serviceType": "ClusterIP", "ingressClassName": "traefik"}}),
        ("haproxy", {"ingress": {"serviceType": "ClusterIP", "ingressClassName": "haproxy"}}),
        (
            "traefik by gateway",
            {
                "gatewayHTTPRoute": {
                    "serviceType": "ClusterIP",
                    "parentRefs": [{"kind": "Gateway", "name": "lighthouse-edge", "sectionName": "http"}],
                }
            },
        ),
    ],
)
def test_acme_is_answered_through_the_edge_itself(
    preset: str, solver: dict[str, Any], renderer: Renderer
) -> None:
    (issuer,) = made(renderer, preset, ACME).select("Issuer")
    told = thaw(issuer.document)["spec"]["acme"]
    assert told["solvers"] == [{"http01": solver}]
    assert {key: told[key] for key in ("server", "email")} == ACME["acme"]


def test_an_acme_server_of_ones_own_is_known_by_its_authority(renderer: Renderer) -> None:
    (public,) = made(renderer, "traefik by ingress", ACME).select("Issuer")
    assert "caBundle" not in thaw(public.document)["spec"]["acme"]
    private = merge(ACME, {"acme": {"authority": AUTHORITY}})
    (issuer,) = made(renderer, "traefik by ingress", private).select("Issuer")
    assert base64.b64decode(thaw(issuer.document)["spec"]["acme"]["caBundle"]).decode() == AUTHORITY
    assert catalog("1.37").problems(issuer) == ()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"edge": {"tls": {"maker": "release"}}},
            "edge.tls.maker is release but global.certificates.maker is none, which makes no certificate",
        ),
        (
            {"edge": {"tls": {"maker": "issuer"}}},
            "edge.tls.maker is issuer but edge.tls.issuer.name is empty; set it",
        ),
        (
            {"edge": {"tls": {"maker": "acme", "acme": {"server": "https://acme.example"}}}},
            "edge.tls.maker is acme but edge.tls.acme.email is empty; set it",
        ),
        (
            {"edge": {"tls": {"issuer": {"name": "public"}}}},
            'edge.tls.issuer.name is "public" but edge.tls.maker is none; set that to issuer',
        ),
        (
            {"edge": {"tls": {**ACME, "existingSecret": "x"}}},
            'edge.tls.existingSecret is "x" but edge.tls.maker is acme; set that to none',
        ),
        (
            {"edge": {"tls": {"acme": {"authority": AUTHORITY}}}},
            "edge.tls.acme.authority is given but edge.tls.maker is none; set that to acme",
        ),
        (
            {"istio": {"enabled": True}, "edge": {"tls": ACME}},
            "istio.enabled is true but edge.tls.maker is acme",
        ),
        (
            {"certificates": {"edge": {"hosts": ["a.example"]}}},
            "certificates.edge.hosts moved to edge.hosts in 0.1.0; set that instead.",
        ),
        (
            {"certificates": {"edge": {"issuer": {"acme": {"ingressClass": "nginx"}}}}},
            "certificates.edge.issuer.acme.ingressClass moved to edge.className in 0.1.0; set that instead.",
        ),
        (
            {"certificates": {"edge": {"issuer": {"existing": {"name": "public"}}}}},
            "certificates.edge.issuer.existing.name moved to edge.tls.issuer.name in 0.1.0; set that instead.",
        ),
    ],
)
def test_what_contradicts_or_moved_is_refused(
    values: dict[str, Any], sentence: str, renderer: Renderer
) -> None:
    with pytest.raises(RenderError) as refused:
        whole(renderer, {"istio": {"enabled": False}} | values)
    assert sentence in str(refused.value)


def test_a_cluster_without_cert_manager_is_told_so(renderer: Renderer) -> None:
    request = request_for("default")
    values = merge(WHOLE, {"edge": {"tls": {"maker": "issuer", "issuer": {"name": "public"}}}})
    api = "cert-manager.io/v1/Certificate"
    apis = tuple(known for known in request.api_versions if known != api)
    assert len(apis) < len(request.api_versions)
    with pytest.raises(RenderError, match=f"edge.enabled needs the API {api}, which the cluster does not"):
        renderer.render(replace(request, overrides=values, api_versions=apis))


@pytest.mark.heavy
@pytest.mark.parametrize("preset", PRESETS)
def test_a_real_api_server_accepts_what_asks_acme(
    preset: str, renderer: Renderer, api_server: ApiServer
) -> None:
    api_server.add_crds(pinned_crds(["Certificate", "Issuer"]))
    if not api_server.request("GET", "/api/v1/namespaces/lighthouse").accepted:
        api_server.add_namespace("lighthouse", {})
    asking = [item for item in made(renderer, preset, ACME).objects if item.group == "cert-manager.io"]
    assert {item.kind for item in asking} == {"Certificate", "Issuer"}
    told = {item.ref: api_server.apply(item) for item in asking}
    assert {ref: answer.message for ref, answer in told.items() if not answer.accepted} == {}
