"""Where things are, and the versions that no package manager's own file pins."""

from __future__ import annotations

import os
import re
import tomllib
from ipaddress import IPv4Network
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "ci" / "tools"
VERSIONS = tomllib.loads((ROOT / "ci" / "versions.toml").read_text())

CACHE = Path(
    os.environ.get("LIGHTHOUSE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lighthouse"
)
# Another name (and other networks) gives a second cluster beside the first.
CLUSTER = os.environ.get("CLUSTER") or "lighthouse"
if not re.fullmatch(r"[a-z][a-z0-9-]{0,11}", CLUSTER):
    raise SystemExit(
        f"error: CLUSTER is '{CLUSTER}' and must be at most 12 of a-z, 0-9 and '-', a letter first."
    )
STATES = Path("/var/lib")
STATE = STATES / f"{CLUSTER}-cluster"
LOCK = Path(f"/run/{CLUSTER}-cluster.lock")
KUBECONFIG = STATE / "kubeconfig"
LOGS = STATE / "logs"

NODE_NETWORK = IPv4Network(os.environ.get("NODE_NETWORK") or VERSIONS["cluster"]["node_network"])
POD_NETWORK = IPv4Network(os.environ.get("POD_NETWORK") or VERSIONS["cluster"]["pod_network"])
SERVICE_NETWORK = IPv4Network(os.environ.get("SERVICE_NETWORK") or VERSIONS["cluster"]["service_network"])
HOST_ADDRESS = NODE_NETWORK[1]
DNS_ADDRESS = SERVICE_NETWORK[10]

RELEASE = "lighthouse"
NAMESPACE = "lighthouse"


def module_version(tool: str, module: str) -> str:
    """The version that ci/tools/<tool>/go.mod requires of a Go module, e.g. ``v1.37.2``."""
    found = re.search(
        rf"^(?:require )?\s*{re.escape(module)} (v\S+)", (TOOLS / tool / "go.mod").read_text(), re.MULTILINE
    )
    if not found:
        raise LookupError(f"ci/tools/{tool}/go.mod does not require {module}.")
    return found[1]
