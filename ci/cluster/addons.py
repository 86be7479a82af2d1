"""DNS and storage of the local cluster."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

from ci.cluster import api
from ci.settings import DNS_ADDRESS

if TYPE_CHECKING:
    from ci.images import Image

MANIFESTS = Path(__file__).with_name("addons.yaml")


def apply(kubectl: Path, *, coredns: Image, local_path: Image, base: Image) -> None:
    """Apply the add-ons; `wait` tells when they run."""
    manifests = string.Template(MANIFESTS.read_text()).substitute(
        coredns=coredns.reference,
        local_path=local_path.reference,
        base=base.reference,
        dns_address=DNS_ADDRESS,
    )
    api.apply(kubectl, manifests.encode())


def wait(kubectl: Path, seconds: int = 120) -> None:
    """Wait until the add-ons run."""
    for namespace, name in (("kube-system", "coredns"), ("local-path-storage", "local-path-provisioner")):
        words = ["rollout", "status", f"deployment/{name}", "--namespace", namespace, f"--timeout={seconds}s"]
        api.kubectl(kubectl, *words, hint=f"Run 'kubectl -n {namespace} describe pods'.")
