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
    return documents


def barman_plugin(text: str, images: Images) -> list[Manifest]:
    """The plugin's manifest with its image and that of the sidecar; the one in the module names a test build."""
    documents = _documents(text)
    container = _only_container(documents)
    container["image"] = images.plugin
    container["imagePullPolicy"] = images.pull_policy
    (secret,) = [item for item in documents if item["kind"] == "Secret"]
    secret["data"]["SIDECAR_IMAGE"] = base64.b64encode(images.sidecar.encode()).decode()
    return documents


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
