"""The operators' own manifests, with the images that a cluster is to run."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ci.console import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

Manifest = dict[str, Any]
REPLICAS = 2
# How long an operator's pod stays bound to a node that does not answer; Kubernetes' own is 300 s.
GONE_SECONDS = 10


@dataclass(frozen=True)
class Images:
    """References of what CloudNativePG and its Barman plugin run, and when nodes pull them."""

    operator: str
    plugin: str
    sidecar: str
    pull_policy: str = "IfNotPresent"


def published(cloudnative_pg: str, barman_plugin: str) -> Images:
    """The images that the projects publish for these versions, e.g. ``1.30.0`` and ``0.14.0``."""
    registry = "ghcr.io/cloudnative-pg"
    return Images(
        f"{registry}/cloudnative-pg:{cloudnative_pg}",
        f"{registry}/plugin-barman-cloud:v{barman_plugin}",
        f"{registry}/plugin-barman-cloud-sidecar:v{barman_plugin}",
    )


def cloudnative_pg(text: str, images: Images) -> list[Manifest]:
    """CloudNativePG's manifest with the operator's image, which instances take their program from too."""
    documents = _documents(text)
    container = _only_container(documents)
    container["image"] = images.operator
    container["imagePullPolicy"] = images.pull_policy
    (variable,) = [entry for entry in container["env"] if entry["name"] == "OPERATOR_IMAGE_NAME"]
    variable["value"] = images.operator
    # A tenth of a core, as published, makes every failover wait for the operator's next slice of time.
    container["resources"]["limits"]["cpu"] = "1"
    _survive_a_node(documents)
    return documents


def barman_plugin(text: str, images: Images) -> list[Manifest]:
    """The plugin's manifest with its image and that of the sidecar; the one in the module names a test build."""
    documents = _documents(text)
    container = _only_container(documents)
    container["image"] = images.plugin
    container["imagePullPolicy"] = images.pull_policy
    (secret,) = [item for item in documents if item["kind"] == "Secret"]
    secret["data"]["SIDECAR_IMAGE"] = base64.b64encode(images.sidecar.encode()).decode()
    container["readinessProbe"] |= {"initialDelaySeconds": 0, "periodSeconds": 2}
    _survive_a_node(documents)
    return documents


def _survive_a_node(documents: list[Manifest]) -> None:
    """Run an operator twice, on two nodes where there are two: one leads, the other takes over.

    The plugin's second is never ready, since only the leader listens, so one that is missing must not count.
    """
    (deployment,) = [item for item in documents if item["kind"] == "Deployment"]
    spec = deployment["spec"]
    pod = spec["template"]["spec"]
    spec["replicas"] = REPLICAS
    spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}
    pod["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": spec["selector"],
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
    pod["tolerations"] = [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": GONE_SECONDS,
        }
        for state in ("not-ready", "unreachable")
    ]


def crds(documents: list[Manifest]) -> list[str]:
    """Names of the CustomResourceDefinitions among manifests."""
    return [item["metadata"]["name"] for item in documents if item["kind"] == "CustomResourceDefinition"]


def _documents(text: str) -> list[Manifest]:
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def _only_container(documents: list[Manifest]) -> Manifest:
    found = list(_containers(documents))
    if len(found) != 1:
        raise Failure(f"The manifest has {len(found)} containers in Deployments, not 1: pin another version.")
    return found[0]


def _containers(documents: list[Manifest]) -> Iterator[Manifest]:
    for item in documents:
        if item["kind"] == "Deployment":
            yield from item["spec"]["template"]["spec"]["containers"]
