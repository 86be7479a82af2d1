"""Between the controller and bridges: TLS in which each knows the other, wherever bridges have certificates."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from lighthouse_harness.manifests import merge
from lighthouse_harness.model import thaw
from lighthouse_harness.render import RenderError
from lighthouse_harness.schemas import catalog

from .test_certificates import EXISTING
from .test_edge import PRESETS, SERVICE, haproxy, ours, whole

if TYPE_CHECKING:
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer

CLIENT = "lighthouse-edge-client-tls"
BRIDGE = "lighthouse-bridge.lighthouse.svc.cluster.example"
GIVEN = merge(EXISTING, {"edge": {"clientTls": {"existingSecret": "client"}}})
"""With Secrets that exist for all who have certificates."""


def secured(renderer: Renderer, preset: str, maker: str, values: dict[str, Any] | None = None) -> Render:
    """The edge of one preset before bridges whose certificates this maker makes."""
    edge = dict(PRESETS[preset])
    if preset == "haproxy" and maker != "own":
        edge["haproxy"] = {"authoritySecret": "authority"}
    made = {"global": {"clusterDomain": "cluster.example.", "certificates": {"maker": maker}}, "edge": edge}
    given = GIVEN if maker == "existing" else {}
    return whole(renderer, merge(merge(made, given), values or {}))


@pytest.mark.parametrize("maker", ["own", "cert-manager", "existing"])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_controller_knows_bridges_and_they_it(preset: str, maker: str, renderer: Renderer) -> None:
    render = secured(renderer, preset, maker)
    secret = "client" if maker == "existing" else CLIENT
    service = thaw(ours(render, "Service")[""].document)
    assert [port["appProtocol"] for port in service["spec"]["ports"]] == ["https"]
    if preset == "haproxy":
        told = haproxy(render)
        authority = "lighthouse-edge-authority" if maker == "own" else "authority"
        assert told["server-ssl"] == "true"
        assert told["server-crt"] == f"lighthouse/{secret}"
        assert told["server-ca"] == f"lighthouse/{authority}"
        # Without these it would believe any certificate of the authority, such as an agent's.
        line = f"default-server sni str({BRIDGE}) check-sni {BRIDGE} verifyhost {BRIDGE}"
        assert line in told["backend-config-snippet"].splitlines()
        return
    spec = thaw(ours(render, "ServersTransport")[""].document)["spec"]
    assert (spec["serverName"], spec["disableHTTP2"]) == (BRIDGE, True)
    assert spec["rootCAs"] == [{"secret": secret}]
    assert spec["certificatesSecrets"] == [secret]
    assert "insecureSkipVerify" not in spec
    if preset == "traefik by ingress":
        assert service["metadata"]["annotations"][f"{SERVICE}.serversscheme"] == "https"
    else:
        (behind,) = thaw(ours(render, "TraefikService")[""].document)["spec"]["weighted"]["services"]
        assert behind["scheme"] == "https"


@pytest.mark.parametrize("preset", PRESETS)
def test_without_certificates_it_is_plain_http(preset: str, renderer: Renderer) -> None:
    render = whole(renderer, {"edge": PRESETS[preset]})
    service = thaw(ours(render, "Service")[""].document)
    assert [port["appProtocol"] for port in service["spec"]["ports"]] == ["http"]
    if preset == "haproxy":
        told = haproxy(render)
        assert not [name for name in told if name.startswith("server-")]
        assert "default-server" not in told["backend-config-snippet"]
        return
    assert set(thaw(ours(render, "ServersTransport")[""].document)["spec"]) == {"forwardingTimeouts"}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_object_fits_its_schema(preset: str, renderer: Renderer) -> None:
    render = secured(renderer, preset, "cert-manager")
    judged = [item for item in render.objects if item.name.startswith("lighthouse-edge")]
    assert {item.ref: catalog("1.37").problems(item) for item in judged} == {item.ref: () for item in judged}


def test_the_own_authority_makes_the_controllers_certificate(renderer: Renderer) -> None:
    render = secured(renderer, "haproxy", "own")
    secrets = {
        item.name: {key: base64.b64decode(text) for key, text in thaw(item.document)["data"].items()}
        for item in render.select("Secret")
        if item.name in ("lighthouse-authority", "lighthouse-edge-authority", CLIENT)
    }
    authority = x509.load_pem_x509_certificate(secrets["lighthouse-authority"]["tls.crt"])
    client = x509.load_pem_x509_certificate(secrets[CLIENT]["tls.crt"])
    client.verify_directly_issued_by(authority)
    # HAProxy's controller gets the authority, and never its key.
    assert secrets["lighthouse-edge-authority"] == {"tls.crt": secrets["lighthouse-authority"]["tls.crt"]}
    other = secured(renderer, "traefik by ingress", "own").select("Secret")
    assert "lighthouse-edge-authority" not in {item.name for item in other}


def test_cert_manager_makes_the_controllers_certificate(renderer: Renderer) -> None:
    render = secured(renderer, "traefik by gateway", "cert-manager")
    (asked,) = (item for item in render.select("Certificate") if item.at("spec.secretName") == CLIENT)
    assert set(asked.at("spec.usages")) == {"digital signature", "client auth"}
    assert list(asked.at("spec.dnsNames")) == ["lighthouse-edge.lighthouse"]


@pytest.mark.parametrize(
    ("maker", "edge", "sentence"),
    [
        (
            "existing",
            {"clientTls": {"existingSecret": ""}},
            "existing but edge.clientTls.existingSecret is empty; name the Secret",
        ),
        (
            "own",
            {"clientTls": {"existingSecret": "x"}},
            'edge.clientTls.existingSecret is "x" but global.certificates.maker is own; set that to existing',
        ),
        (
            "cert-manager",
            {"controller": "haproxy"},
            "edge.haproxy.authoritySecret is empty, and without it HAProxy believes any bridge",
        ),
        (
            "own",
            {"controller": "haproxy", "haproxy": {"authoritySecret": "x"}},
            'edge.haproxy.authoritySecret is "x", but edge.controller is haproxy and global.certificates.maker is own',
        ),
        (
            "cert-manager",
            {"haproxy": {"authoritySecret": "x"}},
            'edge.haproxy.authoritySecret is "x", but edge.controller is traefik',
        ),
    ],
)
def test_what_would_not_know_a_bridge_is_refused(
    maker: str, edge: dict[str, Any], sentence: str, renderer: Renderer
) -> None:
    with pytest.raises(RenderError) as refused:
        secured(renderer, "traefik by ingress", maker, {"edge": edge})
    assert sentence in str(refused.value)
