"""Each maker gives the bridge and its clients certificates that fit each other; keys are files and nothing else."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from lighthouse_agent.bridge_pool import BridgePool
from lighthouse_agent.settings import bridge_tls_dir, bridge_url
from lighthouse_bridge.certificate import read_certificate
from lighthouse_bridge.settings import read_settings
from lighthouse_harness.documents import thaw, walk
from lighthouse_harness.manifests import merge
from lighthouse_harness.schemas import pinned_crds

from .conftest import request_for

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_harness.api_server import ApiServer
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

Values = dict[str, Any]
BRIDGE = ("lighthouse", "lighthouse-bridge-tls")
AGENTS = ("lighthouse-agents", "lighthouse-agents-tls")
AUTHORITY = "lighthouse-authority"
FILES = {"ca.crt", "tls.crt", "tls.key"}
EXISTING: Values = {
    "bridge": {"tls": {"existingSecret": "b"}},
    "agents": {"tls": {"existingSecret": "a"}},
}
VAULT: Values = {"server": "https://vault:8200", "path": "pki/sign/x", "role": "x", "serviceAccount": "x"}
EDGE: Values = {
    "edge": {"enabled": True, "hosts": ["lighthouse.example"], "tls": {"maker": "release"}},
    "bridge": {"trustedProxies": ["10.244.0.0/16"]},
    "networkPolicies": {"edge": [{"namespaceSelector": {"matchLabels": {"team": "ingress"}}}]},
}
"""An edge whose certificate is made with those of the release."""


def made_by(maker: str, values: Values | None = None) -> Values:
    """Values with a maker of certificates."""
    return merge({"global": {"certificates": {"maker": maker}}}, values or {})


def rendered(renderer: Renderer, values: Values, **changes: Any) -> Render:
    """The defaults with these values."""
    return renderer.render(replace(request_for("default"), overrides=values, **changes))


def container(render: Render, kind: str, name: str, part: str) -> Values:
    """A container of a workload."""
    (workload,) = (item for item in render.select(kind) if item.name == name)
    pod = thaw(workload.document)["spec"]["template"]["spec"]
    (found,) = (c for c in [*pod.get("initContainers", []), *pod["containers"]] if c["name"] == part)
    return dict(found)


def volumes(render: Render) -> dict[str, Values]:
    """Volumes that hold certificates, by workload and name."""
    found = {}
    for item in render.objects:
        spec = thaw(item.document).get("spec")
        template = spec.get("template") if isinstance(spec, dict) else None
        for volume in (template or {}).get("spec", {}).get("volumes", []):
            found[f"{item.name}/{volume['name']}"] = volume
    assert found
    return found


def environment(spec: Values) -> dict[str, str]:
    """The variables of a container that stand in its manifest."""
    return {entry["name"]: entry["value"] for entry in spec["env"] if "value" in entry}


def spaces(render: Render, kind: str) -> dict[tuple[str, str], Object]:
    """Objects of a kind by namespace and name."""
    return {(item.namespace, item.name): item for item in render.select(kind, may_be_empty=True)}


@dataclass(frozen=True)
class Made:
    """A Secret with a certificate, as files."""

    folder: Path
    leaf: x509.Certificate
    authority: x509.Certificate

    def names(self) -> list[str]:
        """The host names that it is for."""
        return self._alternatives().get_values_for_type(x509.DNSName)

    def addresses(self) -> list[str]:
        """The addresses that it is for."""
        return [str(address) for address in self._alternatives().get_values_for_type(x509.IPAddress)]

    def _alternatives(self) -> x509.SubjectAlternativeName:
        return self.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def written(secret: Object, folder: Path) -> Made:
    """Write the files of a Secret."""
    assert secret.at("type") == "kubernetes.io/tls"
    data = thaw(secret.document)["data"]
    assert set(data) == FILES
    folder.mkdir(parents=True)
    for name, text in data.items():
        (folder / name).write_bytes(base64.b64decode(text))
    leaf, authority = (
        x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in ("tls.crt", "ca.crt")
    )
    return Made(folder, leaf, authority)


@pytest.fixture(name="own", scope="module")
def _own(renderer: Renderer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """What the chart's own authority makes, by the Secret's name."""
    more = {"addresses": ["192.0.2.7"], "names": ["outside.example"], "clients": ["hook"]}
    secrets = rendered(renderer, made_by("own", EDGE | {"certificates": more})).select("Secret")
    folder = tmp_path_factory.mktemp("own")
    tls = [secret for secret in secrets if secret.at("type") == "kubernetes.io/tls"]
    return {secret.name: written(secret, folder / secret.name) for secret in tls}


@pytest.fixture(name="accepting", scope="module")
def _accepting(api_server: ApiServer) -> ApiServer:
    """A real API server that knows cert-manager's kinds."""
    api_server.add_crds(pinned_crds(["Certificate", "Issuer", "ClusterIssuer", "CertificateRequest"]))
    for name in ("lighthouse", "lighthouse-agents", "cert-manager"):
        if not api_server.request("GET", f"/api/v1/namespaces/{name}").accepted:
            api_server.add_namespace(name, {})
    return api_server


@pytest.mark.parametrize("maker", ["own", "cert-manager", "existing"])
def test_bridge_and_clients_are_told_of_the_same_connection(maker: str, renderer: Renderer) -> None:
    values = made_by(maker, EXISTING if maker == "existing" else {})
    render = rendered(renderer, values)
    bridge = container(render, "StatefulSet", "lighthouse-bridge", "bridge")
    settings = read_settings(environment(bridge))
    assert settings.tls is not None
    assert settings.tls.clients
    for part in ("agent", "fuse"):
        spec = container(render, "Deployment", "lighthouse-agents-security", part)
        told = environment(spec)
        url = urlsplit(bridge_url(told["LIGHTHOUSE_BRIDGE_URL"]))
        assert (url.scheme, url.port) == ("https", settings.port)
        folder = bridge_tls_dir(told)
        assert {m["mountPath"]: m["readOnly"] for m in spec["volumeMounts"] if m["name"] == "bridge-tls"} == {
            str(folder): True
        }
    ports = {port["name"]: port["containerPort"] for port in bridge["ports"]}
    assert (ports["http"], ports["probes"]) == (settings.port, settings.probe_port)
    probed = {bridge[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")}
    assert probed == {"probes"}
    mounts = {mount["name"]: mount for mount in bridge["volumeMounts"]}
    assert mounts["tls"] == {"name": "tls", "mountPath": str(settings.tls.folder), "readOnly": True}


@pytest.mark.parametrize("maker", ["own", "cert-manager", "existing"])
def test_the_plain_port_is_of_the_pod_alone(maker: str, renderer: Renderer) -> None:
    """No Service leads to it and no policy opens it; kubelet needs neither."""
    render = rendered(renderer, made_by(maker, EXISTING if maker == "existing" else {}))
    (service,) = (item for item in render.select("Service") if item.name == "lighthouse-bridge")
    assert {port["targetPort"] for port in service.at("spec.ports")} == {"http", "metrics"}
    (http,) = (port for port in service.at("spec.ports") if port["name"] == "http")
    assert http["appProtocol"] == "https"
    for policy in render.select("NetworkPolicy"):
        assert 8766 not in [leaf for _, leaf in walk(policy.document)]


def test_without_a_maker_all_is_plain(renderer: Renderer) -> None:
    render = rendered(renderer, {})
    assert "tls" not in str([name.partition("/")[2] for name in volumes(render)])
    url = environment(container(render, "Deployment", "lighthouse-agents-security", "agent"))
    assert url["LIGHTHOUSE_BRIDGE_URL"].startswith("http://")
    assert "LIGHTHOUSE_BRIDGE_TLS_DIR" not in url
    secrets = render.select("Secret")
    assert {secret.at("type") for secret in secrets} == {"Opaque"}


@pytest.mark.parametrize("clients", ["verified", "any"])
def test_a_bridge_gets_the_authority_where_it_judges_clients(clients: str, renderer: Renderer) -> None:
    values = made_by("existing", merge(EXISTING, {"bridge": {"tls": {"clients": clients}}}))
    found = volumes(rendered(renderer, values))
    keys = {item["key"] for item in found["lighthouse-bridge/tls"]["secret"]["items"]}
    assert keys == FILES - (set() if clients == "verified" else {"ca.crt"})
    assert found["lighthouse-bridge/tls"]["secret"]["secretName"] == "b"
    first, second = (
        part["secret"] for part in found["lighthouse-agents-security/bridge-tls"]["projected"]["sources"]
    )
    assert (first["name"], second["name"], second["optional"]) == ("a", "a", True)


def test_the_own_authority_signs_for_the_names_that_clients_use(
    own: dict[str, Made], renderer: Renderer
) -> None:
    authority = own[AUTHORITY]
    bridge = own["lighthouse-bridge-tls"]
    told = environment(
        container(rendered(renderer, made_by("own")), "Deployment", "lighthouse-agents-security", "agent")
    )
    assert urlsplit(told["LIGHTHOUSE_BRIDGE_URL"]).hostname in bridge.names()
    assert {"lighthouse-bridge", "lighthouse-bridge.lighthouse.svc", "outside.example", "localhost"} <= set(
        bridge.names()
    )
    assert set(bridge.addresses()) == {"127.0.0.1", "192.0.2.7"}
    assert own["lighthouse-edge-tls"].names() == ["lighthouse.example"]
    for name, made in own.items():
        assert made.authority == authority.leaf, name
        made.leaf.verify_directly_issued_by(authority.leaf)
        assert isinstance(made.leaf.public_key(), ec.EllipticCurvePublicKey)
    keys = [(made.folder / "tls.key").read_bytes() for made in own.values()]
    assert len(set(keys)) == len(own) == 6


def test_bridge_and_agents_can_use_the_files_of_the_own_authority(own: dict[str, Made]) -> None:
    """By the code that reads them, and by a handshake in which each knows the other."""
    bridge, agents = own["lighthouse-bridge-tls"].folder, own["lighthouse-agents-tls"].folder
    assert read_certificate(bridge, clients=True).authorities
    assert BridgePool(agents)._current()
    for client, error in ((agents, None), (None, ssl.SSLError)):
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(bridge / "tls.crt", bridge / "tls.key")
        server.load_verify_locations(bridge / "ca.crt")
        server.verify_mode = ssl.CERT_REQUIRED
        ours = ssl.create_default_context(cafile=agents / "ca.crt")
        if client:
            ours.load_cert_chain(client / "tls.crt", client / "tls.key")
        if error:
            with pytest.raises(error):
                handshake(server, ours)
        else:
            handshake(server, ours)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Let two ends know each other, in memory; raises SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    name = "lighthouse-bridge.lighthouse.svc.cluster.local"
    ends = [server.wrap_bio(up, down, server_side=True), client.wrap_bio(down, up, server_hostname=name)]
    open_ends = set(ends)
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            open_ends.discard(end)
    assert not open_ends


@pytest.mark.parametrize("maker", ["own", "cert-manager"])
def test_no_pod_sees_the_key_of_the_authority(maker: str, renderer: Renderer) -> None:
    values = made_by(maker, EDGE | {"redis": {"enabled": True}, "certificates": {"clients": ["hook"]}})
    render = rendered(renderer, values)
    mounted = [leaf for volume in volumes(render).values() for _, leaf in walk(volume)]
    unseen = {AUTHORITY, *(f"lighthouse-{name}-tls" for name in ("client-hook", "edge", "edge-client"))}
    assert not unseen & {name for name in mounted if isinstance(name, str)}
    for item in render.objects:
        if item.kind != "Secret":
            assert "PRIVATE KEY" not in str(thaw(item.document)), item.ref
    if maker == "cert-manager":
        (authority,) = (item for item in render.select("Certificate") if item.at("spec.isCA"))
        assert authority.namespace == "cert-manager"


@pytest.mark.proves(25, level="rendered")
def test_cert_manager_is_asked_for_what_each_end_needs(renderer: Renderer) -> None:
    more = {"addresses": ["192.0.2.7"], "clients": ["hook"], "hours": 12}
    values = EDGE | {"certificates": more, "redis": {"enabled": True}}
    render = rendered(renderer, made_by("cert-manager", values))
    asked = spaces(render, "Certificate")
    authority = asked.pop(("cert-manager", AUTHORITY))
    assert authority.at("spec.privateKey.rotationPolicy") == "Never"
    usages = {name: set(item.at("spec.usages")) - {"digital signature"} for (_, name), item in asked.items()}
    assert usages == {
        "lighthouse-bridge-tls": {"server auth"},
        "lighthouse-agents-tls": {"client auth"},
        "lighthouse-client-hook-tls": {"client auth"},
        "lighthouse-edge-tls": {"server auth"},
        "lighthouse-edge-client-tls": {"client auth"},
        "lighthouse-redis-tls": {"server auth", "client auth"},
        "lighthouse-redis-client-tls": {"client auth"},
    }
    assert {BRIDGE, AGENTS} <= set(asked)
    for (_, name), item in asked.items():
        spec = thaw(item.document)["spec"]
        assert spec["secretName"] == name
        assert spec["duration"] == "12h"
        assert spec["issuerRef"] == {"name": AUTHORITY, "kind": "ClusterIssuer", "group": "cert-manager.io"}
        key = spec["privateKey"]
        assert (key["algorithm"], key["rotationPolicy"]) == ("ECDSA", "Always")
    bridge = asked[BRIDGE]
    assert "lighthouse-bridge.lighthouse.svc.cluster.local" in bridge.at("spec.dnsNames")
    assert set(bridge.at("spec.ipAddresses")) == {"127.0.0.1", "192.0.2.7"}
    names = asked["lighthouse", "lighthouse-redis-tls"].at("spec.dnsNames")
    assert "*.lighthouse-redis-nodes.lighthouse.svc.cluster.local" in names
    made = {secret.name for secret in render.select("Secret") if secret.at("type") == "kubernetes.io/tls"}
    assert made == set()


@pytest.mark.parametrize("release", ["lighthouse", "shop"])
def test_only_the_releases_namespaces_may_ask_its_issuer(release: str, renderer: Renderer) -> None:
    render = rendered(renderer, made_by("cert-manager"), release=release, namespace="team")
    (issuer,) = render.select("ClusterIssuer")
    (policy,) = (item for item in render.select("ValidatingAdmissionPolicy") if item.name == issuer.name)
    (condition,) = policy.at("spec.matchConditions")
    assert f"'{issuer.name}'" in condition["expression"]
    (rule,) = policy.at("spec.validations")
    assert rule["expression"] == "request.namespace in ['team','team-agents']"
    assert issuer.name.startswith("team-")
    (binding,) = (
        item for item in render.select("ValidatingAdmissionPolicyBinding") if item.name == issuer.name
    )
    assert binding.at("spec.policyName") == issuer.name
    assert "Deny" in binding.at("spec.validationActions")


@pytest.mark.heavy
@pytest.mark.proves(25, level="accepted")
@pytest.mark.parametrize(
    ("certificates", "issuers"),
    [
        ({}, {"ca", "selfSigned"}),
        ({"issuer": {"kind": "vault", "vault": VAULT}}, {"vault"}),
        ({"issuer": {"kind": "existing", "existing": {"name": "ours"}}}, set()),
    ],
    ids=["self-made", "vault", "existing"],
)
def test_each_kind_of_issuer_fits_the_schema_and_signs(
    certificates: Values, issuers: set[str], renderer: Renderer, accepting: ApiServer
) -> None:
    render = rendered(renderer, made_by("cert-manager", {"certificates": certificates}))
    found = [*spaces(render, "Issuer").values(), *spaces(render, "ClusterIssuer").values()]
    assert {key for issuer in found for key in issuer.at("spec")} == issuers
    referred = {item.at("spec.issuerRef.name") for item in render.select("Certificate")}
    assert {item.name for item in found} <= referred
    assert referred - {item.name for item in found} <= {"ours"}
    refused = {
        item.ref: answer.message
        for item in render.objects
        if item.group in ("cert-manager.io", "admissionregistration.k8s.io")
        and not (answer := accepting.apply(item)).accepted
    }
    assert refused == {}


def test_a_name_that_ends_with_a_dot_is_verified_without_it(renderer: Renderer) -> None:
    values = made_by("cert-manager", {"global": {"clusterDomain": "cluster.example."}})
    render = rendered(renderer, values)
    host = "lighthouse-bridge.lighthouse.svc.cluster.example"
    told = environment(container(render, "Deployment", "lighthouse-agents-security", "agent"))
    assert told["LIGHTHOUSE_BRIDGE_URL"] == f"https://{host}:8765"
    assert host in spaces(render, "Certificate")[BRIDGE].at("spec.dnsNames")


def test_the_own_certificates_are_for_servers_and_for_clients(own: dict[str, Made]) -> None:
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    for name in ("lighthouse-bridge-tls", "lighthouse-agents-tls", "lighthouse-client-hook-tls"):
        assert set(own[name].leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == both
