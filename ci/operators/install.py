"""Installing the operators on a cluster: the local one with images built here, any other with the published ones."""

from __future__ import annotations

import json
import tempfile
import time
from typing import TYPE_CHECKING

from ci.console import Failure
from ci.images import base_image
from ci.local import put_on_nodes
from ci.operators import images, manifests
from ci.settings import RELEASE
from ci.toolchain import OPERATOR_TOOLS, module_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.console import Steps
    from ci.images import Image
    from ci.operators.manifests import Manifest
    from ci.release import Cluster

CNPG_NAMESPACE = "cnpg-system"
CERT_MANAGER_NAMESPACE = "cert-manager"
TOOLS = {tool.name: tool for tool in OPERATOR_TOOLS}
WEBHOOK_SECONDS = 90.0


def install_local(steps: Steps, cluster: Cluster, *, gateway: bool = False) -> images.LocalImages:
    """Install on the local cluster with images built here; `gateway` if it has the Gateway API."""
    built = images.build(steps, base_image(steps))
    put_on_nodes(steps, built.all())
    references = manifests.Images(
        built.cloudnative_pg.reference, built.barman_plugin.reference, built.barman_sidecar.reference
    )
    _install(steps, cluster, references, _cert_manager_arguments(built.cert_manager, gateway=gateway))
    return built


def install_cert_manager(steps: Steps, cluster: Cluster, *, gateway: bool = False) -> None:
    """Install cert-manager alone on the local cluster; `gateway` if that has the Gateway API."""
    built = images.cert_manager(steps)
    put_on_nodes(steps, built.values())
    with steps.step(f"cert-manager {TOOLS['cert-manager'].version}"):
        _install_cert_manager(cluster, _cert_manager_arguments(built, gateway=gateway))


def install_published(steps: Steps, cluster: Cluster) -> None:
    """Install with the images that the projects publish, from the same manifests."""
    versions = (TOOLS["cloudnative-pg"].version, TOOLS["barman-plugin"].version)
    _install(steps, cluster, manifests.published(*versions), [])


def _cert_manager_arguments(built: dict[str, Image], *, gateway: bool) -> list[str]:
    """helm arguments for all of its images, and for ACME through Gateways, whose definitions must be there."""
    words = [word for role, image in built.items() for word in _cert_manager_image(role, image)]
    return [*words, "--set", "extraArgs={--enable-gateway-api}"] if gateway else words


def _cert_manager_image(role: str, image: Image) -> list[str]:
    """helm arguments for one of cert-manager's images."""
    value = "image" if role == "controller" else f"{role}.image"
    repository, _, tag = image.reference.rpartition(":")
    return ["--set-string", f"{value}.repository={repository}", "--set-string", f"{value}.tag={tag}"]


def _install(steps: Steps, cluster: Cluster, references: manifests.Images, arguments: list[str]) -> None:
    with steps.step(f"cert-manager {TOOLS['cert-manager'].version}"):
        _install_cert_manager(cluster, arguments)
    with steps.step(f"CloudNativePG {TOOLS['cloudnative-pg'].version}"):
        text = manifest("cloudnative-pg", "releases/cnpg-{version}.yaml")
        apply_documents(cluster, manifests.cloudnative_pg(text, references))
        ready(cluster, CNPG_NAMESPACE, "cnpg-controller-manager")
    with steps.step(f"Barman Cloud plugin {TOOLS['barman-plugin'].version}"):
        text = manifest("barman-plugin", "manifest.yaml")
        documents = manifests.barman_plugin(text, references)
        # cert-manager answers before its webhook's certificate is known to the API server.
        _retried(lambda: apply_documents(cluster, documents), "cert-manager's webhook")
        ready(cluster, CNPG_NAMESPACE, "barman-cloud")
    with steps.step("CloudNativePG's webhook"):
        _retried(lambda: _probe(cluster), "CloudNativePG's webhook")


def manifest(name: str, path: str) -> str:
    """A manifest that comes with a tool's module."""
    tool = TOOLS[name]
    return (module_folder(tool) / path.format(version=tool.version)).read_text()


def _install_cert_manager(cluster: Cluster, arguments: list[str]) -> None:
    tool = TOOLS["cert-manager"]
    version = f"v{tool.version}"
    source = module_folder(tool) / "deploy" / "charts" / "cert-manager"
    with tempfile.TemporaryDirectory() as folder:
        # The module has the chart without a version, which upstream sets when it publishes.
        cluster.helm("package", source, "--version", version, "--app-version", version, "-d", folder)
        words = ["upgrade", "--install", "cert-manager", f"{folder}/cert-manager-{version}.tgz"]
        where = ["--namespace", CERT_MANAGER_NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"]
        options = ["--set", "crds.enabled=true", "--set", "startupapicheck.enabled=false"]
        cluster.helm(*words, *where, *options, *arguments)


def apply_documents(cluster: Cluster, documents: list[Manifest]) -> None:
    """Apply manifests server-side, definitions of resources first."""
    names = manifests.crds(documents)
    definitions = [item for item in documents if item["kind"] == "CustomResourceDefinition"]
    others = [item for item in documents if item["kind"] != "CustomResourceDefinition"]
    words = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager",
        f"{RELEASE}-operators",
        "-f",
        "-",
    ]
    for part in (definitions, others):
        if part:
            listed = {"apiVersion": "v1", "kind": "List", "items": part}
            cluster.kubectl(*words, stdin=json.dumps(listed).encode())
        if part is definitions and names:
            cluster.kubectl("wait", "--for=condition=Established", "crd", *names, "--timeout=60s")


def ready(cluster: Cluster, namespace: str, deployment: str) -> None:
    """Wait until a Deployment has the replicas it needs."""
    # Not "rollout status", which waits for every pod: one that does not lead may never be ready.
    words = ["wait", "--for=condition=Available", f"deployment/{deployment}", "-n", namespace]
    cluster.kubectl(*words, "--timeout=180s")


def _probe(cluster: Cluster) -> None:
    """Ask the webhook about a Cluster, without keeping it."""
    wanted = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": "probe", "namespace": "default"},
        "spec": {"instances": 1, "storage": {"size": "1Gi"}},
    }
    cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(wanted).encode())


def _retried(work: Callable[[], None], what: str) -> None:
    deadline = time.monotonic() + WEBHOOK_SECONDS
    while True:
        try:
            return work()
        except Failure as failure:
            if time.monotonic() > deadline:
                raise Failure(
                    f"{what[0].upper()}{what[1:]} does not answer after {WEBHOOK_SECONDS:.0f} s: {failure}"
                ) from None
            time.sleep(1)
