"""Fixtures of the tests of the edge: two bridges on a PostgreSQL behind Traefik, by Ingress and by Gateway API.

Bridges ask the edge for a certificate: that of the chart's own authority in the one, of cert-manager in the other.
Clients see one of the same maker, or for a while one by ACME.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from ci import images as image_builds
from ci import local
from ci.cluster import lifecycle
from ci.console import Steps
from ci.operators import traefik
from ci.release import Cluster, install, local_values, role_key, uninstall
from ci.settings import NAMESPACE, POD_NETWORK, RELEASE
from lighthouse_harness.manifests import merge
from tests.images.certificates import certificate, new_authority
from tests.live import stores
from tests.live.knocking import restricted_pod
from tests.live.support import Container, applied, component, eventually, pods
from tests.production.edge.outside import HOST, Outside
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BRIDGES = 2
# The least that the chart takes: a bridge may think for thirty.
ANSWER_SECONDS = 35
CERTIFICATE = "lighthouse-example-com"
BRIDGE, CLIENT, SHOWN = f"{RELEASE}-bridge-tls", f"{RELEASE}-edge-client-tls", f"{RELEASE}-edge-tls"
MADE = (BRIDGE, CLIENT, SHOWN)
"""What cert-manager makes: the bridges' certificate, that by which bridges know the edge, and the edge's own."""
MOUNTED = "/etc/lighthouse/tls"
# Traefik wants the ports on which its entry points listen.
GATEWAY: dict[str, Any] = {"kind": "gateway", "gateway": {"ports": {"http": 8000, "https": 8443}}}
KINDS: dict[str, dict[str, Any]] = {
    "ingress": {
        "global": {"certificates": {"maker": "own"}},
        "edge": {"kind": "ingress", "tls": {"maker": "release"}},
    },
    "gateway": {
        "global": {"certificates": {"maker": "cert-manager"}},
        "edge": {**GATEWAY, "tls": {"maker": "release"}},
    },
    "plain": {"edge": {**GATEWAY, "tls": {"existingSecret": CERTIFICATE}}},
}


@pytest.fixture(scope="session")
def images() -> dict[str, image_builds.Image]:
    """The images of the product and of the stores, on all nodes."""
    steps = Steps(quiet=True)
    stores_image = image_builds.stores_image(steps)
    local.put_on_nodes(steps, [stores_image])
    return {**local.product_on_nodes(steps, image_builds.PRODUCT), "stores": stores_image}


@dataclass
class Release:
    """Bridges behind the edge, whose values tests change."""

    cluster: Cluster
    images: dict[str, image_builds.Image]
    folder: Path
    outside: Outside
    values: dict[str, Any] = field(default_factory=dict)

    def upgrade(self, values: dict[str, Any], authority: bytes = b"", minutes: int = 10) -> None:
        """Install or upgrade with these values beside the usual ones, and tell the client whom to believe: that
        authority, or the one in the Secret that the edge shows."""
        self.values = values
        small = {"requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "64Mi"}}
        controller = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": traefik.NAMESPACE}}
        }
        usual = {
            "agents": {"enabled": False},
            "fuse-csi": {"enabled": False},
            "bridge": {
                "replicas": BRIDGES,
                "database": stores.database_value(),
                "resources": small,
                "trustedProxies": [str(POD_NETWORK)],
            },
            "networkPolicies": {"database": {"peers": [stores.PEER]}, "edge": [controller]},
            "edge": {
                "enabled": True,
                "hosts": [HOST],
                "port": traefik.HTTPS_PORT,
                "maxBodyMiB": 1,
                "timeouts": {"answerSeconds": ANSWER_SECONDS},
            },
        }
        path = self.folder / "values.json"
        path.write_text(json.dumps(merge(usual, values)))
        local = local_values([self.images[name] for name in image_builds.PRODUCT])
        install(self.cluster, RELEASE, NAMESPACE, [*local, "--values", str(path)], timeout=f"{minutes}m")
        self._settle()
        if not authority:
            shown = values["edge"]["tls"].get("existingSecret", SHOWN)
            eventually(lambda: self._is_there(shown), 90, f"the Secret {shown}")
            authority = self.secret(shown)["ca.crt"]
        self.outside.authority.write_bytes(authority)

    def _settle(self) -> None:
        """Wait until bridges have the certificates of who makes them now: till then edge and bridges do not know
        each other, and what was served before says nothing."""
        maker = self.values.get("global", {}).get("certificates", {}).get("maker")
        if maker == "cert-manager":
            by_release = self.values["edge"]["tls"].get("maker") == "release"
            for name in MADE if by_release else (BRIDGE, CLIENT):
                words = ["wait", "--for=condition=Ready", f"certificate/{name}", "-n", NAMESPACE]
                self.cluster.kubectl(*words, "--timeout=120s")
        if maker:
            eventually(self.has_mounted, 180, "the certificates in bridges")

    def has_mounted(self) -> bool:
        """Whether every bridge has the certificate that is in its Secret."""
        wanted = self.secret(BRIDGE)["tls.crt"].decode().strip()
        script = f"print(open('{MOUNTED}/tls.crt').read())"
        return all(bridge.python(script).strip() == wanted for bridge in self.bridges())

    def _is_there(self, secret: str) -> bool:
        return bool(self.cluster.kubectl("get", "secret", secret, "-n", NAMESPACE, "--ignore-not-found"))

    def secret(self, name: str) -> dict[str, bytes]:
        """The content of a Secret."""
        data = self.cluster.get("secret", name, "-n", NAMESPACE)["data"]
        return {key: base64.b64decode(text) for key, text in data.items()}

    def bridges(self) -> list[Container]:
        """The bridges that run."""
        found = pods(self.cluster, NAMESPACE, component("bridge"))
        return [Container(self.cluster, NAMESPACE, pod["metadata"]["name"], "bridge") for pod in found]

    def key(self, role: str) -> str:
        """The join key of a role."""
        with role_key(self.cluster, RELEASE, NAMESPACE, role) as path:
            return path.read_text().strip()


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    """This machine, before the first node."""
    address = str(lifecycle.current()[0].address)
    authority = tmp_path_factory.mktemp("outside") / "ca.crt"
    return Outside(address, traefik.HTTP_PORT, traefik.HTTPS_PORT, authority)


@pytest.fixture(scope="session")
def release(
    cluster: Cluster,
    images: dict[str, image_builds.Image],
    outside: Outside,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Release]:
    """The release with its database and its certificate, not yet installed."""
    folder = tmp_path_factory.mktemp("edge")
    shown = tmp_path_factory.mktemp("certificate")
    certificate(shown, ["127.0.0.1"], new_authority(), [HOST])
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace).encode())
    # Helm takes over no Secret that cert-manager made in an earlier run.
    ours = ["--selector", "app.kubernetes.io/part-of=lighthouse", "--ignore-not-found"]
    cluster.kubectl("delete", "secret", "-n", NAMESPACE, *ours)
    files = {name: (shown / name).read_bytes() for name in ("ca.crt", "tls.crt", "tls.key")}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": CERTIFICATE, "namespace": NAMESPACE},
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
    objects = stores.store_objects(images["stores"].reference, folder / "stores", NAMESPACE, ["postgres"])
    with applied(cluster, secret, *objects):
        cluster.kubectl("rollout", "status", "deployment/postgres", "-n", stores.NAMESPACE, "--timeout=120s")
        yield Release(cluster, images, folder, outside)
        uninstall(cluster, RELEASE, NAMESPACE)


@pytest.fixture(scope="session", params=["ingress", "gateway"])
def edge(request: pytest.FixtureRequest, release: Release, outside: Outside) -> Release:
    """The release by Ingress, then by Gateway API; routes and certificates reach the controller and bridges later."""
    release.upgrade(KINDS[request.param])
    eventually(outside.is_served, 240, "the bridge through the edge")
    return release


@pytest.fixture(scope="session")
def elsewhere(cluster: Cluster, images: dict[str, image_builds.Image]) -> Iterator[Container]:
    """A pod of a stranger, which has another address than this machine."""
    name = "elsewhere"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    pod = restricted_pod(name, name, images["bridge"].reference, {})
    with applied(cluster, namespace, pod):
        cluster.kubectl("wait", "-n", name, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
        yield Container(cluster, name, name, "knock")


@pytest.fixture(scope="session")
def report() -> Report:
    """The table of figures."""
    return Report("edge")
