"""Traefik on the local cluster, for the tests of the edge: definitions, rights and two replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from ci.cluster import lifecycle
from ci.images import Image, program_image
from ci.local import put_on_nodes
from ci.operators.install import apply_documents, ready
from ci.settings import ROOT
from ci.toolchain import TRAEFIK, go_tool, module_folder

if TYPE_CHECKING:
    from ci.console import Steps
    from ci.operators.manifests import Manifest
    from ci.release import Cluster

NAMESPACE = "traefik"
HTTP_PORT, HTTPS_PORT = 30080, 30443
GATEWAY_API = "sigs.k8s.io/gateway-api"


def install(steps: Steps, cluster: Cluster) -> None:
    """Install it on the local cluster with an image built here."""
    image = program_image(steps, "traefik", go_tool(TRAEFIK, steps) / "traefik")
    put_on_nodes(steps, [image])
    with steps.step(f"Traefik {TRAEFIK.version}"):
        apply_documents(cluster, [*_definitions(), *_documents(image)])
        ready(cluster, NAMESPACE, "traefik")


def _definitions() -> list[Manifest]:
    """The kinds of Traefik and those of the Gateway API, in the release that this Traefik was built for."""
    reference = module_folder(TRAEFIK) / "docs" / "content" / "reference" / "dynamic-configuration"
    gateway = module_folder(TRAEFIK, GATEWAY_API) / "config" / "crd" / "standard"
    files = [reference / "kubernetes-crd-definition-v1.yml", *sorted(gateway.glob("*.yaml"))]
    found = [document for file in files for document in yaml.safe_load_all(file.read_text())]
    return [document for document in found if document and document["kind"] == "CustomResourceDefinition"]


def _documents(image: Image) -> list[Manifest]:
    text = (ROOT / "ci" / "operators" / "traefik.yaml").read_text()
    documents: list[Manifest] = list(yaml.safe_load_all(text))
    (deployment,) = [item for item in documents if item["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    pod["containers"][0]["image"] = image.reference
    # A node without it takes no traffic, so that clients' addresses are kept: it is on the one that tests ask.
    pod["nodeSelector"] = {"kubernetes.io/hostname": lifecycle.current()[0].name}
    return documents
