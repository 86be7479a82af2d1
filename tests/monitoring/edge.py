"""The way from outside the cluster to the release that is watched: by Ingress, through Traefik."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ci.cluster import lifecycle
from ci.operators import traefik
from ci.settings import NAMESPACE, POD_NETWORK
from tests.images.certificates import certificate, new_authority
from tests.production.edge.outside import HOST, Outside

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE = "watched-edge"
CONTROLLER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": traefik.NAMESPACE}}}
VALUES: dict[str, Any] = {
    "bridge": {"trustedProxies": [str(POD_NETWORK)]},
    "edge": {
        "enabled": True,
        "hosts": [HOST],
        "port": traefik.HTTPS_PORT,
        "tls": {"existingSecret": CERTIFICATE},
    },
    "monitoring": {"edgeMetrics": True},
    "networkPolicies": {"edge": [CONTROLLER]},
}


def make_certificate(folder: Path) -> dict[str, Any]:
    """A certificate for the edge as a Secret; `folder` has its files and that of its authority afterwards."""
    certificate(folder, ["127.0.0.1"], new_authority(), [HOST])
    content = {
        name: base64.b64encode((folder / name).read_bytes()).decode() for name in ("tls.crt", "tls.key")
    }
    metadata = {"name": CERTIFICATE, "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": content,
    }


def outside(folder: Path) -> Outside:
    """A client before the first node, which believes the authority in `folder`."""
    address = str(lifecycle.current()[0].address)
    return Outside(address, traefik.HTTP_PORT, traefik.HTTPS_PORT, folder / "ca.crt")
