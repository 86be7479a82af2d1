"""DNS and storage of the local cluster."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

from ci.console import run
from ci.settings import DNS_ADDRESS, KUBECONFIG

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
    flags: list[str | Path] = [
        "--kubeconfig",
        KUBECONFIG,
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        "-",
    ]
    run([kubectl, *flags], stdin=manifests.encode())


def wait(kubectl: Path, seconds: int = 120) -> None:
    """Wait until the add-ons run."""
    for namespace, name in (("kube-system", "coredns"), ("local-path-storage", "local-path-provisioner")):
        flags = [
            "--kubeconfig",
            str(KUBECONFIG),
            "--namespace",
            namespace,
            "rollout",
            "status",
            f"deployment/{name}",
        ]
        run([kubectl, *flags, f"--timeout={seconds}s"], hint=f"Run 'kubectl -n {namespace} describe pods'.")
