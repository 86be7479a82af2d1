"""Asking cert-manager for a new certificate before its time."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

from tests.live.support import eventually

if TYPE_CHECKING:
    from ci.release import Cluster


def renew(cluster: Cluster, namespace: str, name: str, seconds: float = 60) -> None:
    """Have a Certificate renewed, as cmctl does, and wait until it is."""
    conditions = [
        condition
        for condition in cluster.get("certificate", name, "-n", namespace)["status"]["conditions"]
        if condition["type"] != "Issuing"
    ]
    now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = {
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "The tests ask for it.",
        "lastTransitionTime": now,
    }
    before = revision(cluster, namespace, name)
    patch = json.dumps({"status": {"conditions": [*conditions, asked]}})
    words = ["patch", "certificate", name, "-n", namespace, "--subresource=status", "--type=merge"]
    cluster.kubectl(*words, "--patch", patch)
    eventually(lambda: revision(cluster, namespace, name) > before, seconds, f"cert-manager renews {name}")


def revision(cluster: Cluster, namespace: str, name: str) -> int:
    """How often a certificate was made."""
    return int(cluster.get("certificate", name, "-n", namespace)["status"].get("revision", 0))
