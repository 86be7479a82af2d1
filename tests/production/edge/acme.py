"""An ACME server on the cluster: Pebble, which asks the edge as Let's Encrypt would, and cert-manager that asks Pebble."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ci.cluster.pki import Authority
from ci.console import Failure
from ci.operators import traefik
from ci.operators.install import CERT_MANAGER_NAMESPACE
from ci.release import POD_SECURITY_VERSION
from ci.settings import NAMESPACE
from tests.live.support import READER, applied, eventually
from tests.production.edge.outside import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster

ACME = "acme"
NAME = "pebble"
HOST_OF_PEBBLE = f"{NAME}.{ACME}.svc.cluster.local"
DIRECTORY, MANAGEMENT = 14000, 15000
FOLDER = "/etc/pebble"
NINETY_DAYS = 7_776_000
# It asks at once, for each certificate anew, and refuses nothing by chance.
ENVIRONMENT = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
CONFIGURATION = {
    "pebble": {
        "listenAddress": f"0.0.0.0:{DIRECTORY}",
        "managementListenAddress": f"0.0.0.0:{MANAGEMENT}",
        "certificate": f"{FOLDER}/tls.crt",
        "privateKey": f"{FOLDER}/tls.key",
        "httpPort": 80,
        "tlsPort": 443,
        "retryAfter": {"authz": 1, "order": 1},
        "keyAlgorithm": "ecdsa",
        "profiles": {"default": {"description": "As Let's Encrypt's", "validityPeriod": NINETY_DAYS}},
    }
}


@dataclass(frozen=True)
class Pebble:
    """The server while it runs: the authority of its directory, and the root of the certificates that it makes."""

    directory_authority: str
    root: bytes

    @property
    def values(self) -> dict[str, Any]:
        """The edge's values by which the release asks it."""
        server = f"https://{HOST_OF_PEBBLE}:{DIRECTORY}/dir"
        told = {"server": server, "email": "edge@example.com", "authority": self.directory_authority}
        return {"edge": {"tls": {"maker": "acme", "acme": told}}}


@contextlib.contextmanager
def running(cluster: Cluster, image: str, folder: Path) -> Iterator[Pebble]:
    """Pebble and cert-manager, for both of whom the edge's host leads to Traefik within the cluster."""
    alias = {"ip": _address(cluster, "traefik", traefik.NAMESPACE), "hostnames": [HOST]}
    authority = Authority(folder, ACME)
    certificate, key = authority.issue(NAME, NAME, names=[HOST_OF_PEBBLE])
    files = {
        "config.json": json.dumps(CONFIGURATION),
        "tls.crt": certificate.read_text(),
        "tls.key": key.read_text(),
    }
    with applied(cluster, *_objects(image, files, alias)), _resolved(cluster, alias):
        cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", ACME, "--timeout=120s")
        root = _root(_address(cluster, NAME, ACME), authority.certificate)
        yield Pebble(authority.certificate.read_text(), root)


def _address(cluster: Cluster, service: str, namespace: str) -> str:
    address: str = cluster.get("service", service, "-n", namespace)["spec"]["clusterIP"]
    return address


def _root(address: str, authority: Path) -> bytes:
    """The root that Pebble made for itself when it started."""
    trust = ssl.create_default_context(cafile=str(authority))
    # The Service leads there a moment after the pod is ready.
    transport = httpx.HTTPTransport(verify=trust, retries=5)
    with httpx.Client(transport=transport, timeout=30) as client:
        url = f"https://{address}:{MANAGEMENT}/roots/0"
        answer = client.get(url, extensions={"sni_hostname": HOST_OF_PEBBLE})
    answer.raise_for_status()
    return answer.content


@contextlib.contextmanager
def _resolved(cluster: Cluster, alias: dict[str, Any]) -> Iterator[None]:
    """cert-manager with another entry in its file of hosts: it asks the host itself before it lets the server ask."""
    where = ["deployment/cert-manager", "-n", CERT_MANAGER_NAMESPACE]

    def patch(kind: str, content: Any) -> None:
        cluster.kubectl("patch", *where, f"--type={kind}", "--patch", json.dumps(content))
        cluster.kubectl("rollout", "status", *where, "--timeout=180s")

    patch("strategic", {"spec": {"template": {"spec": {"hostAliases": [alias]}}}})
    try:
        yield
    finally:
        patch("json", [{"op": "remove", "path": "/spec/template/spec/hostAliases"}])


def _objects(image: str, files: dict[str, str], alias: dict[str, Any]) -> list[dict[str, Any]]:
    labels = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": POD_SECURITY_VERSION,
    }
    data = {name: base64.b64encode(text.encode()).decode() for name, text in files.items()}
    ports = [{"name": f"port-{port}", "port": port, "targetPort": port} for port in (DIRECTORY, MANAGEMENT)]
    metadata = {"name": NAME, "namespace": ACME}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ACME, "labels": labels}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": NAME}, "ports": ports},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {"app": NAME}},
                "template": {"metadata": {"labels": {"app": NAME}}, "spec": _pod(image, alias)},
            },
        },
    ]


def _pod(image: str, alias: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": NAME,
        "image": image,
        "args": ["-config", f"{FOLDER}/config.json"],
        "env": [{"name": name, "value": value} for name, value in ENVIRONMENT.items()],
        "readinessProbe": {"tcpSocket": {"port": DIRECTORY}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": {"cpu": "20m", "memory": "32Mi"},
            "limits": {"cpu": "500m", "memory": "128Mi"},
        },
        "volumeMounts": [{"name": "files", "mountPath": FOLDER}],
    }
    return {
        "automountServiceAccountToken": False,
        "securityContext": READER,
        "hostAliases": [alias],
        "containers": [container],
        "volumes": [{"name": "files", "secret": {"secretName": NAME, "defaultMode": 0o440}}],
    }


def is_ready(cluster: Cluster, name: str) -> bool:
    """Whether a Certificate of the release is there as it is asked for now."""
    found = cluster.get("certificate", name, "-n", NAMESPACE)
    return any(
        condition["type"] == "Ready"
        and condition["status"] == "True"
        and condition.get("observedGeneration") == found["metadata"]["generation"]
        for condition in found.get("status", {}).get("conditions", [])
    )


def wait_until_ready(cluster: Cluster, name: str, seconds: float) -> None:
    """Wait for a Certificate."""
    eventually(lambda: is_ready(cluster, name), seconds, f"the certificate {name}")


def reasons(cluster: Cluster) -> list[str]:
    """What cert-manager says of the issuer, and of the orders and the questions that are open."""
    said = []
    for kind in ("issuers.cert-manager.io", "orders.acme.cert-manager.io", "challenges.acme.cert-manager.io"):
        for item in cluster.get(kind, "-n", NAMESPACE)["items"]:
            status = item.get("status", {})
            told = [condition.get("message", "") for condition in status.get("conditions", [])]
            words = [status.get("state", ""), status.get("reason", ""), *told]
            said.append(
                f"{kind.partition('.')[0]} {item['metadata']['name']}: {' '.join(filter(None, words))}"
            )
    return said


@contextlib.contextmanager
def explained(cluster: Cluster) -> Iterator[None]:
    """Let a failure in the body say why there is no certificate."""
    try:
        yield
    except (AssertionError, Failure) as failure:
        raise AssertionError(f"{failure} cert-manager says: {'; '.join(reasons(cluster))}") from None
