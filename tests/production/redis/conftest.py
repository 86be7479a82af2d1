"""Fixtures of the Redis tests: a release with Redis, its Secrets made here so that they can be changed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci import images as image_builds
from ci import local
from ci.console import Steps
from ci.release import CHART, Cluster, install, local_values
from ci.settings import NAMESPACE, RELEASE
from tests.images.certificates import certificate, new_authority, trust
from tests.live.support import PAUSE, Container, component, pods
from tests.production.postgres import faults
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

PROFILE = CHART / "profiles" / "production-small.yaml"
ALONE = {name: {"enabled": False} for name in ("agents", "fuse-csi")}
NAME = f"{RELEASE}-redis"
DOMAIN = f"{NAME}-nodes.{NAMESPACE}.svc.cluster.local"
NODES_SECRET, CLIENTS_SECRET = "redis-certificate", "redis-client-certificate"
USERS = ("bridge", "exporter", "keeper", "replication")
NODES = f"{component('redis')},lighthouse.dev/role=node"
KEEPER = f"{component('redis')},lighthouse.dev/role=keeper"


@pytest.fixture(scope="session")
def images() -> dict[str, image_builds.Image]:
    """The images of the product and of Redis, on all nodes."""
    return local.product_on_nodes(Steps(quiet=True), image_builds.RELEASED)


@dataclass
class Release:
    """Redis as the chart installs it."""

    cluster: Cluster
    images: dict[str, image_builds.Image]
    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)
    primaries: int = 3
    others: dict[str, Any] = field(default_factory=lambda: dict(ALONE))
    """Values of what is not Redis."""

    def __post_init__(self) -> None:
        self.authority = new_authority()
        self.passwords = {user: f"{user}-first-password" for user in USERS}
        self.clients = self.folder / "clients"
        self.clients.mkdir()

    def put_passwords(self) -> None:
        """Write the Secret of passwords."""
        self.put_secret("redis-users", {name: text.encode() for name, text in self.passwords.items()})

    def put_certificate(self, *trusted: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> int:
        """Write new certificates of nodes and of clients into their Secrets, with these authorities or their own.

        Returns the serial number of that of nodes.
        """
        names = [f"*.{DOMAIN}", f"{NAME}.{NAMESPACE}.svc.cluster.local"]
        serials = []
        for folder, hosts, secret in (
            (self.folder, names, NODES_SECRET),
            (self.clients, ["client"], CLIENTS_SECRET),
        ):
            serials.append(certificate(folder, ["127.0.0.1"], self.authority, hosts))
            trust(folder, *(trusted or (self.authority,)))
            files = {name: (folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")}
            self.put_secret(secret, files)
        return serials[0]

    def put_secret(self, name: str, content: dict[str, bytes]) -> None:
        """Write a Secret."""
        data = {key: base64.b64encode(value).decode() for key, value in content.items()}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "data": data,
        }
        self.cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(secret).encode()
        )

    def upgrade(self, timeout: str = "10m", **overrides: Any) -> None:
        """Install or upgrade, with these values of Redis from now on."""
        self.overrides |= overrides
        path = self.folder / "values.json"
        path.write_text(json.dumps(self.values()))
        local = local_values([self.images[name] for name in image_builds.PRODUCT])
        install(self.cluster, RELEASE, NAMESPACE, [*local, "--values", str(path)], timeout=timeout)

    def values(self) -> dict[str, Any]:
        """The values of the release."""
        redis = yaml.safe_load(PROFILE.read_text())["redis"] | {
            "image": self.images["redis"].values,
            "keeper": {"image": self.images["redis-keeper"].values},
            "exporter": {"image": self.images["redis-exporter"].values},
            "cluster": {"primaries": self.primaries},
            "tls": {"existingSecret": NODES_SECRET, "existingClientSecret": CLIENTS_SECRET},
            "users": {"existingSecret": "redis-users"},
        }
        return {"redis": redis | self.overrides, **self.others}

    @property
    def shape(self) -> tuple[str, str, int, int]:
        """Name, domain, primaries and replicas."""
        return NAME, DOMAIN, self.primaries, 1

    def pod(self, number: int, container: str = "redis") -> Container:
        """A container of a pod of Redis."""
        return Container(self.cluster, NAMESPACE, f"{NAME}-{number}", container)

    def alive(self) -> list[str]:
        """The names of the pods that run."""
        return [pod["metadata"]["name"] for pod in pods(self.cluster, NAMESPACE, NODES)]

    def delete(self, *names: str, now: bool = False) -> None:
        """Delete pods without waiting; `now` gives them no time to stop."""
        how = ["--grace-period=0", "--force"] if now else []
        self.cluster.kubectl("delete", "pod", "-n", NAMESPACE, "--wait=false", *how, *names)


@pytest.fixture(scope="session")
def release(
    cluster: Cluster, images: dict[str, image_builds.Image], tmp_path_factory: pytest.TempPathFactory
) -> Release:
    """Redis with three primaries and a replica each, on volumes that have an end."""
    faults.bound_volumes()
    found = Release(cluster, images, tmp_path_factory.mktemp("redis"))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(namespace).encode())
    found.put_passwords()
    found.put_certificate()
    found.upgrade()
    return found


@pytest.fixture(scope="session")
def beside(release: Release) -> Iterator[Container]:
    """A pod that may use Redis, with the keeper's image and the passwords of all users."""
    secrets = {"redis-users": "/etc/lighthouse/redis-users", CLIENTS_SECRET: "/etc/lighthouse/redis-tls"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "beside-redis",
            "namespace": NAMESPACE,
            "labels": {"lighthouse.dev/access-redis": "true"},
        },
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "beside",
                    "image": release.images["redis-keeper"].reference,
                    "command": PAUSE,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {
                        "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "16Mi"},
                        "limits": {"cpu": "1", "memory": "256Mi", "ephemeral-storage": "64Mi"},
                    },
                    "volumeMounts": [
                        {"name": name, "mountPath": path, "readOnly": True} for name, path in secrets.items()
                    ],
                }
            ],
            "volumes": [
                {"name": name, "secret": {"secretName": name, "defaultMode": 0o440}} for name in secrets
            ],
        },
    }
    release.cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(pod).encode())
    release.cluster.kubectl(
        "wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/beside-redis", "--timeout=60s"
    )
    yield Container(release.cluster, NAMESPACE, "beside-redis", "beside")
    release.cluster.kubectl("delete", "pod", "-n", NAMESPACE, "beside-redis", "--wait=false")


@pytest.fixture(scope="session")
def report() -> Report:
    """The table of events."""
    columns = (
        "Event",
        "Not all slots served, s",
        "Whole after, s",
        "Client errors",
        "First to last error, s",
        "Writes acknowledged",
        "Acknowledged writes lost",
    )
    return Report("redis", columns)
