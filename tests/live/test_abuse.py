"""What an agent, or somebody outside, might try: each attempt is refused, and the report lists the answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ci.release import bridge_service, role_key
from ci.settings import NAMESPACE, RELEASE, ROOT
from tests.live.knocking import restricted_pod
from tests.live.support import AGENTS, CSI, PYTHON, Container, agent, component, pods
from tests.live.test_network import METADATA

if TYPE_CHECKING:
    from ci.release import Cluster

pytestmark = pytest.mark.live

HERE = Path(__file__).resolve().parent
REPORT = ROOT / "reports" / "abuse.md"
MINIMUM = 60
Attempts = dict[str, dict[str, Any]]


def _address(cluster: Cluster) -> str:
    address: str = bridge_service(cluster, RELEASE, NAMESPACE)["spec"]["clusterIP"]
    return address


@pytest.fixture(name="old_tokens", scope="module")
def _old_tokens(cluster: Cluster) -> str:
    """Tokens that the bridge itself signed, of sessions out of time, as JSON; one in time is taken, so age alone tells."""
    (bridge,) = pods(cluster, NAMESPACE, component("bridge"))
    container = Container(cluster, NAMESPACE, bridge["metadata"]["name"], "bridge")
    tokens = json.loads(container.python((HERE / "aged_sessions.py").read_text(), "abuse-aged"))
    headers = {"Authorization": f"Bearer {tokens.pop('in time')}", "User-Agent": ""}
    with httpx.Client(base_url=f"http://{_address(cluster)}:8765", headers=headers, timeout=10) as client:
        assert client.get("/experts").status_code == 200
        assert client.post("/session/end", json={}).status_code == 200
    assert len(tokens) == 2
    return json.dumps(tokens)


def _from_agent(cluster: Cluster, old_tokens: str) -> Attempts:
    container = agent(cluster)
    script = (HERE / "abuse.py").read_text()
    words = [_address(cluster), "8765", "/etc/lighthouse/key/key", "abuse-agent", old_tokens]
    done = container.run(PYTHON, "-c", script, *words, seconds=180)
    assert done.returncode == 0, done.stderr.decode()
    found: Attempts = json.loads(done.stdout)
    return found


def _from_outside(cluster: Cluster, old_tokens: str) -> Attempts:
    with role_key(cluster, RELEASE, NAMESPACE, "expert") as key:
        words = [_address(cluster), "8765", str(key), "abuse-outside", old_tokens]
        words = [sys.executable, str(HERE / "abuse.py"), *words]
        done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    found: Attempts = json.loads(done.stdout)
    return found


def _escapes(cluster: Cluster) -> Attempts:
    container = agent(cluster)
    other = agent(cluster, "architecture")
    (bridge,) = pods(cluster, NAMESPACE, component("bridge"))
    node = bridge["status"]["hostIP"]
    api = cluster.get("service", "kubernetes", "--namespace", "default")["spec"]["clusterIP"]
    neighbour = cluster.get("pod", other.pod, "--namespace", AGENTS)["status"]["podIP"]
    targets = {
        "the API server": (api, 443),
        "the API server at the node": (node, 6443),
        "the kubelet": (node, 10250),
        "a cloud's metadata": (METADATA, 80),
        "another agent": (neighbour, 8083),
        "another agent's sidecar": (neighbour, 8081),
        "the bridge's metrics": (bridge["status"]["podIP"], 8080),
        "the internet": ("192.0.2.1", 443),
    }
    found: Attempts = json.loads(
        container.python((HERE / "escapes.py").read_text(), json.dumps(targets), seconds=120)
    )
    return found


SOCKETS = """
import json
mounts = (line.split() for line in open("/proc/self/mounts"))
print(json.dumps([words[1] for words in mounts if words[0] == "lighthouse-control"]))
"""


def _at_control_sockets(cluster: Cluster) -> Attempts:
    """From an agent and from its sidecar, at the sockets by which the driver hands out mounts."""
    drivers = [pod["metadata"]["name"] for pod in pods(cluster, CSI, component("fuse-csi"))]
    folders = {
        folder
        for name in drivers
        for folder in json.loads(Container(cluster, CSI, name, "driver").python(SOCKETS))
    }
    own = agent(cluster)
    uids = {
        pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods(cluster, AGENTS, component("agents"))
    }
    others = sorted(f"{folder}/control.sock" for folder in folders if uids[own.pod] not in folder)
    neighbours = [uid for name, uid in uids.items() if name != own.pod]
    assert neighbours
    assert all(any(uid in path for path in others) for uid in neighbours), f"{neighbours} not in {others}"
    script = (HERE / "control_sockets.py").read_text()
    found: Attempts = {}
    for name, path in (("agent", ""), ("fuse", "/run/lighthouse-control/control.sock")):
        container = Container(cluster, AGENTS, own.pod, name)
        tried: Attempts = json.loads(container.python(script, path, json.dumps(others)))
        found |= {f"from the container {name}: {attempt}": answer for attempt, answer in tried.items()}
    return found


def _pod(**spec: Any) -> dict[str, Any]:
    pod = restricted_pod("abuse", AGENTS, "localhost/lighthouse/agent:0.1.0", {})
    pod["spec"] |= spec
    return pod


def _context(**fields: Any) -> dict[str, Any]:
    (container,) = _pod()["spec"]["containers"]
    return {"containers": [container | {"securityContext": container["securityContext"] | fields}]}


def _to_the_api_server(cluster: Cluster) -> Attempts:
    """Pods that somebody with the right to make pods might make, even an administrator."""
    account = f"system:serviceaccount:{AGENTS}:{RELEASE}-agents"
    pods_ = {
        "a privileged pod": _pod(**_context(privileged=True, allowPrivilegeEscalation=True)),
        "a pod with SYS_ADMIN": _pod(**_context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
        "a pod as root": _pod(**_context(runAsUser=0)),
        "a pod on the host's network": _pod(hostNetwork=True),
        "a pod among the host's processes": _pod(hostPID=True),
        "a pod with a folder of the node": _pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}]),
        "a pod with another registry's image": _pod(
            containers=[_pod()["spec"]["containers"][0] | {"image": "docker.io/library/busybox:1"}]
        ),
        "a pod with a token": _pod(automountServiceAccountToken=True, serviceAccountName="default"),
    }
    found: Attempts = {}
    for name, pod in pods_.items():
        found[name] = _kubectl(
            cluster, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod).encode()
        )
    for what in ("secrets", "pods", "nodes", "configmaps"):
        words = ["get", what, "--namespace", NAMESPACE, "--as", account]
        found[f"an agent's account listing {what}"] = _kubectl(cluster, *words)
    return found


def _kubectl(cluster: Cluster, *words: str, stdin: bytes | None = None) -> dict[str, Any]:
    done = subprocess.run(
        [str(cluster.tools / "kubectl"), "--kubeconfig", str(cluster.kubeconfig), *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = done.stderr.decode().strip().splitlines()
    return {"refused": done.returncode != 0, "answer": said[0][:160] if said else "done"}


def _report(tables: dict[str, Attempts]) -> None:
    lines = ["# Attempts to abuse Lighthouse, and the answers", ""]
    for place, attempts in tables.items():
        lines += [f"## {place}: {len(attempts)}", "", "| Attempt | Answer |", "|---|---|"]
        lines += [f"| {name} | {attempt['answer']} |" for name, attempt in attempts.items()] + [""]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.proves(22, level="running")
@pytest.mark.proves(26, level="running")
def test_every_attempt_at_abuse_is_refused(cluster: Cluster, old_tokens: str) -> None:
    tables = {
        "From an agent's container, over HTTP": _from_agent(cluster, old_tokens),
        "From outside, over HTTP": _from_outside(cluster, old_tokens),
        "Out of an agent's container": _escapes(cluster),
        "At the driver's control sockets": _at_control_sockets(cluster),
        "At the API server": _to_the_api_server(cluster),
    }
    _report(tables)
    done = [
        f"{place}: {name}: {attempt['answer']}"
        for place, attempts in tables.items()
        for name, attempt in attempts.items()
        if not attempt["refused"]
    ]
    assert not done, "\n".join(done)
    assert sum(map(len, tables.values())) >= MINIMUM
    assert all(len(attempts) >= 5 for attempts in tables.values())
