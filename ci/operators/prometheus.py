"""Prometheus, Alertmanager and their operator on the local cluster, for the tests of monitoring."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import yaml

from ci.cache import digest
from ci.images import Image, files_image, program_image
from ci.local import put_on_nodes
from ci.operators.install import apply_documents, ready
from ci.settings import ROOT
from ci.toolchain import (
    ALERTMANAGER,
    KUBE_STATE_METRICS,
    PROMETHEUS,
    PROMETHEUS_OPERATOR,
    go_tool,
    module_folder,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ci.console import Steps
    from ci.operators.manifests import Manifest
    from ci.release import Cluster

NAMESPACE = "monitoring"
NAME = "lighthouse"
RELOADER = "--prometheus-config-reloader="


class _Loader(yaml.CSafeLoader):
    """Takes a lone `=`, of which definitions have some, for the text that it is to Kubernetes' readers of YAML."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _loader, node: str(node.value))


def install(steps: Steps, cluster: Cluster) -> None:
    """Install all on the local cluster with images built here."""
    images = _images(steps)
    put_on_nodes(steps, images.values())
    own = list(yaml.safe_load_all((ROOT / "ci" / "operators" / "prometheus.yaml").read_text()))
    with steps.step(f"Prometheus operator {PROMETHEUS_OPERATOR.version}"):
        apply_documents(cluster, [own[0], *_operator(images)])
        ready(cluster, NAMESPACE, "prometheus-operator")
    versions = f"Alertmanager {ALERTMANAGER.version}, kube-state-metrics {KUBE_STATE_METRICS.version}"
    with steps.step(f"Prometheus {server_version()}, {versions}"):
        _give_images(own, images)
        apply_documents(cluster, own)
        for kind in ("prometheus", "alertmanager"):
            words = ["wait", "--for=condition=Available", f"{kind}/{NAME}", "-n", NAMESPACE]
            cluster.kubectl(*words, "--timeout=180s")
        ready(cluster, NAMESPACE, "kube-state-metrics")


def server_version() -> str:
    """The version of the server by its own count: that of the module is 0.316.0 where the server's is 3.16.0."""
    zero, minor, patch = PROMETHEUS.version.split(".")
    return f"3.{int(minor) - 300}.{patch}" if zero == "0" else PROMETHEUS.version


def _images(steps: Steps) -> dict[str, Image]:
    operator = go_tool(PROMETHEUS_OPERATOR, steps)
    reloader = operator / "prometheus-config-reloader"
    return {
        "operator": program_image(steps, "prometheus-operator", operator / "operator"),
        "reloader": _in_bin(steps, "prometheus-config-reloader", reloader),
        "prometheus": _in_bin(steps, "prometheus", go_tool(PROMETHEUS, steps) / "prometheus"),
        "alertmanager": _in_bin(steps, "alertmanager", go_tool(ALERTMANAGER, steps) / "alertmanager"),
        "kube-state-metrics": program_image(
            steps, "kube-state-metrics", go_tool(KUBE_STATE_METRICS, steps) / "kube-state-metrics"
        ),
    }


def _in_bin(steps: Steps, name: str, program: Path) -> Image:
    """An image with a program in /bin: the operator calls it there, or mounts data at the root under its name."""

    def fill(root: Path) -> None:
        (root / "bin").mkdir()
        shutil.copy2(program, root / "bin" / name)

    return files_image(steps, name, digest(str(program)), fill, entrypoint=[f"/bin/{name}"])


def _operator(images: dict[str, Image]) -> list[Manifest]:
    """The operator as its module brings it, definitions whole, in our namespace."""
    text = (module_folder(PROMETHEUS_OPERATOR) / "bundle.yaml").read_text()
    documents: list[Manifest] = [found for found in yaml.load_all(text, Loader=_Loader) if found]
    for document in documents:
        for named in (document["metadata"], *document.get("subjects", ())):
            if "namespace" in named:
                named["namespace"] = NAMESPACE
    (role,) = [document for document in documents if document["kind"] == "ClusterRole"]
    slices_of = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    role["rules"].append({**slices_of, "verbs": ["get", "list", "create", "update", "delete"]})
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["image"] = images["operator"].reference
    kept = [argument for argument in container["args"] if not argument.startswith(RELOADER)]
    # Newer servers find targets by slices.
    slices = {"--kubelet-endpoints=true", "--kubelet-endpointslice=false"}
    kept = [argument for argument in kept if argument not in slices]
    container["args"] = [
        *kept,
        f"{RELOADER}{images['reloader'].reference}",
        "--kubelet-endpoints=false",
        "--kubelet-endpointslice=true",
        # It then says on each PodMonitor and PrometheusRule whether it takes it.
        "--feature-gates=StatusForConfigurationResources=true",
    ]
    # A fifth of a core, as published, makes every change wait on a busy machine.
    container["resources"]["limits"] = {"cpu": "1", "memory": "400Mi"}
    return documents


def _give_images(documents: list[Manifest], images: dict[str, Image]) -> None:
    versions = {"Prometheus": f"v{server_version()}", "Alertmanager": f"v{ALERTMANAGER.version}"}
    for document in documents:
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container["image"] = images[container["name"]].reference
        if version := versions.get(document["kind"]):
            image = images[document["kind"].lower()].reference
            document["spec"] |= {"image": image, "version": version}
