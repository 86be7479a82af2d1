"""What the live tests do to a cluster: run programs in its containers, end processes, talk to the bridge."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ci.cluster import cgroups
from ci.release import Cluster, bridge_service, role_key, service_url
from ci.settings import KUBECONFIG, NAMESPACE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AGENTS = f"{NAMESPACE}-agents"
CSI = f"{NAMESPACE}-fuse-csi"
PROJECT = "/mnt/lighthouse/project"
PYTHON = "/opt/lighthouse/bin/python"
READER = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The securityContext of a restricted pod that reads the Secrets it mounts."""
# What a pod to work from does: images of ours have Python and need no shell.
PAUSE = [PYTHON, "-c", "import signal; signal.pause()"]


@dataclass(frozen=True)
class Container:
    """A container of a running pod."""

    cluster: Cluster
    namespace: str
    pod: str
    name: str

    def start(self, *argv: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start a program in the container; its streams are the caller's."""
        options = ["--stdin"] if stdin == subprocess.PIPE else []
        where = ["exec", *options, "--namespace", self.namespace, self.pod, "--container", self.name]
        words = [str(self.cluster.tools / "kubectl"), "--kubeconfig", str(KUBECONFIG), *where, "--", *argv]
        return subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(
        self, *argv: str, stdin: bytes | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program in the container to its end."""
        process = self.start(*argv, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def output(self, *argv: str, seconds: float = 120) -> str:
        """What a program prints; it must succeed and say nothing on its error stream."""
        done = self.run(*argv, seconds=seconds)
        assert done.returncode == 0, (
            f"{argv} in {self.pod}/{self.name}: exit {done.returncode}: {done.stderr.decode()}"
        )
        assert not done.stderr, f"{argv} in {self.pod}/{self.name} complained: {done.stderr.decode()}"
        return done.stdout.decode()

    def python(self, script: str, *arguments: str, seconds: float = 120) -> str:
        """What a Python script prints in the container."""
        return self.output(PYTHON, "-c", script, *arguments, seconds=seconds)

    def status(self) -> dict[str, Any]:
        """The container's status as the API server has it."""
        pod = self.cluster.get("pod", self.pod, "--namespace", self.namespace)["status"]
        states = [*pod.get("initContainerStatuses", []), *pod.get("containerStatuses", [])]
        found: dict[str, Any] = next(state for state in states if state["name"] == self.name)
        return found

    def pids(self) -> list[int]:
        """The host's ids of the container's processes, its first process first."""
        identity = self.status()["containerID"].rpartition("/")[2]
        for hierarchy in cgroups.hierarchies():
            groups = [path for path in (hierarchy / cgroups.TREE).rglob(identity) if path.is_dir()]
            for group in groups:
                pids = [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
                return sorted(pids, key=_inner_pid)
        raise AssertionError(f"no control group holds container {identity} of {self.pod}/{self.name}")


def _inner_pid(pid: int) -> int:
    """A process's id in its own namespace."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return pid


def pods(cluster: Cluster, namespace: str, selector: str) -> list[dict[str, Any]]:
    """Running pods that are not being deleted; at least one."""
    items = cluster.get("pods", "--namespace", namespace, "--selector", selector)["items"]
    alive = [
        p for p in items if p["status"]["phase"] == "Running" and "deletionTimestamp" not in p["metadata"]
    ]
    assert alive, f"no running pod in {namespace} has the labels {selector}"
    return alive


def component(name: str) -> str:
    """The selector of a component of the release."""
    return f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={name}"


def agent(cluster: Cluster, expert: str = "security", container: str = "agent") -> Container:
    """A container of a ready expert agent's pod."""
    cluster.kubectl(
        "rollout", "status", f"deployment/{RELEASE}-agents-{expert}", "-n", AGENTS, "--timeout=90s"
    )
    (pod, *_) = [
        p for p in pods(cluster, AGENTS, component("agents")) if f"-agents-{expert}-" in p["metadata"]["name"]
    ]
    return Container(cluster, AGENTS, pod["metadata"]["name"], container)


def eventually(check: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition; returns how long it took."""
    begin = time.monotonic()
    while not check():
        assert time.monotonic() - begin < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.1)
    return time.monotonic() - begin


class Bridge:
    """A client of the bridge as the host sees it, with a session of one role."""

    def __init__(self, cluster: Cluster, role: str, agent_id: str) -> None:
        self.url = service_url(bridge_service(cluster, RELEASE, NAMESPACE))
        self.agent_id = agent_id
        self.http = httpx.Client(base_url=self.url, timeout=10)
        with role_key(cluster, RELEASE, NAMESPACE, role) as key:
            self.key = key.read_text().strip()
        self.renew()

    def renew(self) -> None:
        """Open a session and use it from now on."""
        body = {"agent_id": self.agent_id, "ip_address": "127.0.0.1", "user_agent": "live tests"}
        answer = self.http.post("/session/create", json=body, headers={"Authorization": f"Bearer {self.key}"})
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['session_token']}"

    def update(self, path: str, content: str | None, operation: str = "update") -> int:
        """Change a file of the shadow tree; returns the sequence of the change."""
        body: dict[str, Any] = {"operation": operation, "file_path": path, "agent_id": self.agent_id}
        if content is not None:
            body["content"] = content
        answer = self.http.post("/shadow/update", json=body)
        assert answer.status_code == 200, answer.text
        sequence: int = answer.json()["sequence"]
        return sequence

    def validate(self, tool: str, tool_input: dict[str, Any]) -> dict[str, Any]:
        """The decision on a tool call."""
        body = {"tool_name": tool, "tool_input": tool_input, "agent_id": self.agent_id}
        answer = self.http.post("/validate", json=body)
        assert answer.status_code == 200, answer.text
        decision: dict[str, Any] = answer.json()
        return decision

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


@contextlib.contextmanager
def applied(cluster: Cluster, *objects: dict[str, Any]) -> Iterator[None]:
    """Objects that exist for the body."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    try:
        yield
    finally:
        cluster.kubectl("delete", "--ignore-not-found", "--wait", "-f", "-", stdin=manifest)


def signal_all(pids: Sequence[int], number: int) -> None:
    """Send a signal to processes that may be gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def drop_caches() -> None:
    """Make the kernel forget file contents and names, so that the next access reaches the file system's server."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
