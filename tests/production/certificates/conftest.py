"""Fixtures of the certificates' tests: releases with each maker, and a client beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci import images as image_builds
from ci import local
from ci.console import Steps
from ci.operators import images as operator_images
from ci.release import CHART, Cluster, install, local_values, uninstall
from ci.settings import NAMESPACE, NODE_NETWORK, RELEASE
from tests.live.support import AGENTS, PYTHON, READER, Container, applied, component, pods
from tests.production.certificates.programs import FILES, HOST, KEY, SEE
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROFILE = CHART / "profiles" / "production-small.yaml"
CLIENT = "probe"
NAME = "certificates-client"
CAPABILITIES = {"lighthouse.dev/access-bridge": "true", "lighthouse.dev/access-redis": "true"}
COMPONENTS = ((NAMESPACE, "bridge"), (AGENTS, "agents"))


@dataclass
class Release:
    """A release whose maker of certificates changes."""

    cluster: Cluster
    images: list[image_builds.Image]
    folder: Path

    def upgrade(self, maker: str, *, metrics: bool = False, **values: Any) -> None:
        """Install or upgrade with a maker, for metrics too or not."""
        content = {
            "global": {"certificates": {"maker": maker, "metrics": metrics}},
            "certificates": {"clients": [CLIENT], **values.pop("certificates", {})},
            "guardrails": {"registries": ["localhost"]},
            **values,
        }
        path = self.folder / "values.json"
        path.write_text(json.dumps(content))
        arguments = [*local_values(self.images), "--values", str(path)]
        install(self.cluster, RELEASE, NAMESPACE, arguments, timeout="10m")

    def redis(self, *, exporter: bool = False) -> dict[str, Any]:
        """Values of one Redis server; its images are on the nodes."""
        names = ("redis", "redis-keeper", "redis-exporter")[: 2 + exporter]
        images = local.product_on_nodes(Steps(quiet=True), names)
        found = {name: image.values for name, image in images.items()}
        off = {"enabled": False}
        keeper = {"image": found["redis-keeper"]}
        return {
            "enabled": True,
            "mode": "standalone",
            "image": found["redis"],
            "keeper": keeper,
            "exporter": {"image": found["redis-exporter"]} if exporter else off,
            "persistence": off,
        }

    def postgres(self) -> dict[str, Any]:
        """Values of bridges on a small PostgreSQL; its image is on the nodes with its operator."""
        steps = Steps(quiet=True)
        image = operator_images.build(steps, image_builds.base_image(steps)).postgresql.values
        nodes = [{"ipBlock": {"cidr": str(NODE_NETWORK)}}]
        small = yaml.safe_load(PROFILE.read_text())["postgres"]
        return {
            "bridge": {"database": {"own": True}},
            "postgres": {**small, "image": image, "backup": {"enabled": False}},
            "networkPolicies": {"databaseClients": nodes, "apiServer": {"peers": nodes}},
        }

    def identities(self, *components: tuple[str, str]) -> dict[str, int]:
        """Every pod of bridge and agents, or of other components, with the restarts of its containers."""
        return self.restarts(*[(namespace, component(name)) for namespace, name in components or COMPONENTS])

    def restarts(self, *selected: tuple[str, str]) -> dict[str, int]:
        """Pods by namespace and selector, with the restarts of their containers."""
        found = {}
        for namespace, selector in selected:
            for pod in pods(self.cluster, namespace, selector):
                status = pod["status"]
                states = [*status.get("initContainerStatuses", []), *status["containerStatuses"]]
                found[pod["metadata"]["uid"]] = sum(state["restartCount"] for state in states)
        return found


@pytest.fixture(scope="session")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The chart with certificates of its own authority."""
    images = list(local.product_on_nodes(Steps(quiet=True), image_builds.PRODUCT).values())
    # An authority from an earlier run would be taken over.
    uninstall(cluster, RELEASE, NAMESPACE)
    # Helm takes over no Secret that cert-manager has made.
    ours = ["--selector", "app.kubernetes.io/part-of=lighthouse", "--ignore-not-found"]
    cluster.kubectl("delete", "secret", "-n", NAMESPACE, *ours)
    made = Release(cluster, images, tmp_path_factory.mktemp("certificates"))
    made.upgrade("own")
    return made


@pytest.fixture(scope="session")
def client(release: Release) -> Iterator[Container]:
    """A pod that may use the bridge, with the operators' key and a certificate."""
    image = next(image.reference for image in release.images if "/agent:" in image.reference)
    folders = {"key": KEY.rpartition("/")[0], "tls": FILES, "tmp": "/tmp"}
    keys = {"secretName": f"{RELEASE}-bridge-keys", "items": [{"key": "operator", "path": "key"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "namespace": NAMESPACE,
            "labels": CAPABILITIES,
        },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": READER,
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": ["sleep", "infinity"],
                    "env": [
                        {"name": "LIGHTHOUSE_BRIDGE_URL", "value": f"https://{HOST}:8765"},
                        {"name": "LIGHTHOUSE_BRIDGE_TLS_DIR", "value": FILES},
                        {"name": "LIGHTHOUSE_AGENT_ID", "value": NAME},
                    ],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": name, "mountPath": path} for name, path in folders.items()],
                }
            ],
            "volumes": [
                {"name": "key", "secret": {**keys, "defaultMode": 0o440}},
                {
                    "name": "tls",
                    "secret": {"secretName": f"{RELEASE}-client-{CLIENT}-tls", "defaultMode": 0o440},
                },
                {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
            ],
        },
    }
    with applied(release.cluster, pod):
        release.cluster.kubectl(
            "wait", "--for=condition=Ready", f"pod/{NAME}", "-n", NAMESPACE, "--timeout=60s"
        )
        yield Container(release.cluster, NAMESPACE, NAME, "client")


def shown(client: Container, host: str = HOST, port: int = 8765) -> str:
    """The serial number of a server's certificate; empty while client and server do not know each other."""
    done = client.run(PYTHON, "-c", SEE, host, str(port), FILES)
    if done.returncode:
        return ""
    serial, version = json.loads(done.stdout)
    assert version == "TLSv1.3"
    return str(serial)


@pytest.fixture(scope="session")
def report() -> Report:
    """The table of events."""
    return Report("certificates")
