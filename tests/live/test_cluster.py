"""The local cluster itself: nodes, names, volumes and the audit log are real."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from ci.cluster import cgroups, lifecycle
from ci.cluster.control_plane import audit_events
from ci.cluster.processes import program_of
from ci.settings import KUBECONFIG, NAMESPACE
from tests.live.support import AGENTS, PYTHON, eventually, signal_all

if TYPE_CHECKING:
    from ci.release import Cluster
    from tests.live.support import Container

pytestmark = pytest.mark.live

RESOLVE = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


def test_every_node_is_ready(cluster: Cluster) -> None:
    nodes = cluster.get("nodes")["items"]
    assert nodes
    for node in nodes:
        ready = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        assert ready["status"] == "True", f"{node['metadata']['name']}: {ready['message']}"


def test_pods_resolve_services_and_no_unknown_names(cluster: Cluster, expert: Container) -> None:
    address = cluster.get("service", "lighthouse-bridge", "--namespace", NAMESPACE)["spec"]["clusterIP"]
    assert expert.python(RESOLVE, f"lighthouse-bridge.{NAMESPACE}.svc.cluster.local").strip() == address
    unknown = expert.run(PYTHON, "-c", RESOLVE, f"nobody.{NAMESPACE}.svc.cluster.local")
    assert unknown.returncode != 0
    assert b"gaierror" in unknown.stderr


def test_what_enforces_policies_is_started_again_when_it_ends() -> None:
    (node, *_) = lifecycle.current()

    def felix() -> set[int]:
        pids = cgroups.running(node.name, "calico-felix")
        return {pid for pid in pids if program_of(pid) == "calico-felix"}

    old = felix()
    assert old
    signal_all(sorted(old), signal.SIGKILL)
    eventually(lambda: bool(felix() - old), 30, "it runs again")


def test_storage_class_makes_the_bridges_volume(cluster: Cluster) -> None:
    claims = cluster.get("persistentvolumeclaims", "--namespace", NAMESPACE)["items"]
    assert claims
    for claim in claims:
        assert claim["status"]["phase"] == "Bound"
        volume = cluster.get("persistentvolume", claim["spec"]["volumeName"])
        assert volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "rancher.io/local-path"


def test_opening_a_shell_in_an_agent_is_in_the_audit_log(expert: Container) -> None:
    expert.output("true")

    def logged() -> bool:
        return any(f"/pods/{expert.pod}/exec" in str(event["requestURI"]) for event in audit_events())

    eventually(logged, 10, f"an audit event for the shell in {AGENTS}/{expert.pod}")


@pytest.mark.proves(19, level="running")
def test_audit_log_holds_no_secret_values(cluster: Cluster) -> None:
    keys = cluster.get("secret", "lighthouse-bridge-keys", "--namespace", NAMESPACE)["data"]
    assert keys
    text = json.dumps(audit_events())
    assert [name for name, value in keys.items() if value in text] == []


def test_kubeconfig_is_private() -> None:
    assert KUBECONFIG.stat().st_mode & 0o077 == 0
