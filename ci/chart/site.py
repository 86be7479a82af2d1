"""What renders that nobody installs take a cluster and a site to be: the operators' APIs, and addresses."""

from __future__ import annotations

from pathlib import Path

SITE = Path(__file__).resolve().parent / "site.yaml"
"""What only a site knows and the shipped profiles leave out."""

OPERATED = (
    "postgresql.cnpg.io/v1/Cluster",
    "barmancloud.cnpg.io/v1/ObjectStore",
    "monitoring.coreos.com/v1/PodMonitor",
    "cert-manager.io/v1/Certificate",
    "security.istio.io/v1/AuthorizationPolicy",
    "security.istio.io/v1/PeerAuthentication",
    "traefik.io/v1alpha1/Middleware",
    "gateway.networking.k8s.io/v1/HTTPRoute",
)
"""APIs of operators that some values need of a cluster."""
