"""Installing the chart with helm, and talking to the release."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.console import Failure, run
from ci.settings import NODE_NETWORK, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ci.images import Image

CHART = ROOT / "charts" / "lighthouse"
POD_SECURITY_VERSION = "v1.33"
# How helm 4 tells of objects whose owner it could not read: it leaves them, forgets the release and ends with 0.
UNREAD = re.compile(r"ownership could not be verified:\n((?:\[\w+\] .+\n?)+)")
OBJECT = re.compile(r"^\[(\w+)\] ([^\s:]+)", re.MULTILINE)


@dataclass(frozen=True)
class Cluster:
    """A cluster to install on: the folder with helm and kubectl, and a kubeconfig or the user's current context."""

    tools: Path
    kubeconfig: Path | None = None

    def kubectl(self, *words: str, stdin: bytes | None = None) -> str:
        """Run kubectl and return what it prints."""
        return run([self.tools / "kubectl", *words], env=self._env(), stdin=stdin)

    def context(self) -> str:
        """The name of the context that commands go to."""
        hint = "Choose one with 'kubectl config use-context NAME', or name a file by KUBECONFIG."
        return run([self.tools / "kubectl", "config", "current-context"], env=self._env(), hint=hint).strip()

    def helm(self, *words: str | Path) -> str:
        """Run helm and return what it prints."""
        return run([self.tools / "helm", *words], env=self._env())

    def get(self, *words: str) -> dict[str, Any]:
        """An object, or a list of them, as kubectl sees it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "--output", "json"))
        return found

    def _env(self) -> dict[str, str]:
        return dict(os.environ, **({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {}))


def local_values(images: Sequence[Image]) -> list[str]:
    """helm arguments for the local cluster: images by their local names, the host as a client of the bridge."""
    tags = {image.reference.rpartition(":")[0].rpartition("/")[2]: image.tag for image in images}
    values = {
        "global.imageRegistry": "localhost",
        "bridge.image.tag": tags["bridge"],
        "agents.image.tag": tags["agent"],
        "agents.fuse.image.tag": tags["fuse-csi"],
        "fuse-csi.image.tag": tags["fuse-csi"],
    }
    words = [word for name, value in values.items() for word in ("--set-string", f"{name}={value}")]
    clients = json.dumps([{"ipBlock": {"cidr": str(NODE_NETWORK)}}])
    return [*words, "--set-json", f"networkPolicies.clients={clients}"]


def install(
    cluster: Cluster, release: str, namespace: str, arguments: Sequence[str], timeout: str = "5m"
) -> None:
    """Install or upgrade the chart and wait until all of it is ready.

    The namespace is made with the PodSecurity label that the bridge's pods satisfy, since a chart cannot label
    the namespace it is installed in.
    """
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
    labels |= {f"{name}-version": POD_SECURITY_VERSION for name in labels}
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    words = ["apply", "--server-side", "--field-manager=lighthouse-install", "-f", "-"]
    cluster.kubectl(*words, stdin=json.dumps(wanted).encode())
    try:
        cluster.helm(
            "upgrade",
            "--install",
            release,
            CHART,
            "--namespace",
            namespace,
            *arguments,
            "--wait",
            "--timeout",
            timeout,
        )
    except Failure as failure:
        raise Failure(f"{failure} What is not ready:{_not_ready(cluster, namespace)}") from None


def uninstall(cluster: Cluster, release: str, namespace: str) -> str:
    """Take the release away and wait until it is gone; what the chart keeps stays. Returns what helm says."""
    words = ("--namespace", namespace, "--ignore-not-found", "--wait", "--timeout", "5m")
    said = cluster.helm("uninstall", release, *words)
    mine = f"app.kubernetes.io/instance={release},app.kubernetes.io/managed-by=Helm"
    for kind, name in OBJECT.findall("".join(UNREAD.findall(said))):
        only = ("--selector", mine, "--field-selector", f"metadata.name={name}")
        cluster.kubectl("delete", kind, "--all-namespaces", *only)
    return said


def _not_ready(cluster: Cluster, namespace: str) -> str:
    lines = []
    for pod in cluster.get("pods", "--all-namespaces")["items"]:
        if not pod["metadata"]["namespace"].startswith(namespace):
            continue
        status = pod["status"]
        if status["phase"] == "Succeeded":
            continue
        states = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        waiting = [
            f"{state['name']}: {detail.get('reason', kind)} {detail.get('message', '')}".strip()
            for state in states
            if not state["ready"]
            for kind, detail in state.get("state", {}).items()
        ]
        conditions = [
            c["message"] for c in status.get("conditions", []) if c["status"] == "False" and c.get("message")
        ]
        if waiting or not states:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            lines.append(
                f"\n  {name} {status['phase']}: {'; '.join(waiting or conditions) or 'no container yet'}"
            )
    return "".join(lines) or " see 'kubectl get events --all-namespaces'."


def bridge_service(cluster: Cluster, release: str, namespace: str) -> dict[str, Any]:
    """The bridge's Service."""
    selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=bridge"
    items = cluster.get("services", "--namespace", namespace, "--selector", selector)["items"]
    if not items:
        raise Failure(f"The release {release} has no bridge in namespace {namespace}: run 'make install'.")
    service: dict[str, Any] = items[0]
    return service


def service_url(service: dict[str, Any]) -> str:
    """The bridge's URL by its Service's address, which the host of the local cluster reaches."""
    (port,) = (port["port"] for port in service["spec"]["ports"] if port["name"] == "http")
    return f"http://{service['spec']['clusterIP']}:{port}"


@contextlib.contextmanager
def role_key(cluster: Cluster, release: str, namespace: str, role: str) -> Iterator[Path]:
    """A private file with the key of a role (expert, builder or operator), removed at the end."""
    selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component=bridge"
    secrets = cluster.get("secrets", "--namespace", namespace, "--selector", selector)["items"]
    values = [secret["data"][role] for secret in secrets if role in secret.get("data", {})]
    if not values:
        raise Failure(
            f"No Secret of release {release} in namespace {namespace} has the key '{role}': give LIGHTHOUSE_KEY_FILE instead."
        )
    with tempfile.TemporaryDirectory(prefix="lighthouse-") as folder:  # mode 0700
        path = Path(folder) / role
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(values[0]))
        yield path


def check_project(project: Path) -> None:
    """Raise `Failure` when there is no source tree to load."""
    if not project.is_dir():
        raise Failure(
            f"PROJECT is {project}, which is not a folder: give one that is, e.g. 'make load PROJECT=.'."
        )


def load(url: str, key: Path, project: Path) -> None:
    """Load a source tree into the bridge with the agent's own loader, which shows its progress."""
    check_project(project)
    env = dict(
        os.environ,
        LIGHTHOUSE_BRIDGE_URL=url,
        LIGHTHOUSE_KEY_FILE=str(key),
        LIGHTHOUSE_AGENT_ID="loader",
        PYTHONPATH=str(ROOT / "images" / "agent"),
    )
    if subprocess.run(
        [sys.executable, "-m", "lighthouse_agent", "load", str(project)], env=env, check=False
    ).returncode:
        raise Failure(f"The tree {project} could not be loaded into {url}: see the message above.")
