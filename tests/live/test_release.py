"""The chart on a real API server: namespaces that enforce, upgrades that disturb nothing, every kind of install."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ci.console import Failure
from ci.settings import KUBECONFIG, NAMESPACE, RELEASE, ROOT
from tests.live.support import AGENTS, CSI, component, eventually, pods

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster
    from tests.live.support import Bridge

pytestmark = pytest.mark.live

COMPONENTS = {"bridge": NAMESPACE, "agents": AGENTS, "fuse-csi": CSI}


def test_every_component_is_ready(cluster: Cluster) -> None:
    for name, namespace in COMPONENTS.items():
        for pod in pods(cluster, namespace, component(name)):
            conditions = {c["type"]: c["status"] for c in pod["status"]["conditions"]}
            assert conditions["Ready"] == "True", pod["metadata"]["name"]


@pytest.mark.parametrize("namespace", [NAMESPACE, AGENTS])
@pytest.mark.proves(1, level="running")
def test_namespace_enforces_restricted_at_a_pinned_version(cluster: Cluster, namespace: str) -> None:
    labels = cluster.get("namespace", namespace)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"].startswith("v1.")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises(Failure, match="violates PodSecurity"):
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(pod).encode())


def test_no_pod_outside_the_driver_has_a_service_account_token(cluster: Cluster) -> None:
    offenders = [
        f"{pod['metadata']['name']}: {volume['name']}"
        for name, namespace in COMPONENTS.items()
        for pod in pods(cluster, namespace, component(name))
        for volume in pod["spec"].get("volumes", [])
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    ]
    assert offenders == []


def test_upgrade_with_the_same_values_restarts_nothing(cluster: Cluster) -> None:
    def identities() -> dict[str, str]:
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for name, namespace in COMPONENTS.items()
            for pod in pods(cluster, namespace, component(name))
        }

    before = identities()
    chart = ROOT / "charts" / "lighthouse"
    cluster.helm(
        "upgrade",
        RELEASE,
        chart,
        "--namespace",
        NAMESPACE,
        "--reset-then-reuse-values",
        "--wait",
        "--timeout",
        "2m",
    )
    assert identities() == before


def test_what_the_bridge_acknowledged_survives_its_pod(cluster: Cluster, operator: Bridge) -> None:
    sequence = operator.update("live/survivor.txt", "kept\n")
    (pod,) = pods(cluster, NAMESPACE, component("bridge"))
    cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--namespace", NAMESPACE, "--wait")
    cluster.kubectl(
        "rollout", "status", "statefulset/lighthouse-bridge", "--namespace", NAMESPACE, "--timeout=90s"
    )
    # The session from before the restart still holds.
    answer = operator.http.get("/shadow/read/live/survivor.txt")
    assert (answer.status_code, answer.text) == (200, "kept\n")
    assert operator.http.get("/shadow/tree").json()["sequence"] >= sequence
    operator.update("live/survivor.txt", None, "delete")


@pytest.fixture
def second_namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace for another release beside the first."""
    name = "second"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, f"{name}-agents", "--ignore-not-found", "--wait")


def test_make_installs_on_the_current_context_and_uninstalls(
    cluster: Cluster, second_namespace: str, tmp_path: Path
) -> None:
    values: dict[str, Any] = json.loads(cluster.helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "json"))
    values["fuse-csi"] = {"enabled": False}  # a node has one driver for all releases
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values))

    def make(target: str, *words: str) -> str:
        done = subprocess.run(
            ["make", target, f"NAMESPACE={second_namespace}", *words],
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(KUBECONFIG)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = make("install", f"VALUES={file}", "SET=agents.experts.architecture=null")
    assert f"helm install lighthouse in namespace {second_namespace} of lighthouse" in said
    assert len(pods(cluster, second_namespace, component("bridge"))) == 1
    assert len(pods(cluster, f"{second_namespace}-agents", component("agents"))) == 1
    assert "[PersistentVolumeClaim] lighthouse-bridge" in make("uninstall"), "it says what it keeps"
    assert cluster.get("statefulsets,deployments", "-n", second_namespace)["items"] == []


INSTALLS = {
    "helm 4, server-side apply": ("HELM", ["--server-side=true"]),
    "helm 4, client-side apply": ("HELM", ["--server-side=false"]),
    "helm 3": ("HELM3", []),
}


@pytest.mark.parametrize("kind", INSTALLS)
def test_second_release_installs_upgrades_and_leaves_nothing(
    cluster: Cluster, second_namespace: str, kind: str
) -> None:
    program, flags = INSTALLS[kind]
    release: dict[str, Any] = json.loads(
        cluster.helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "json")
    )
    release["fuse-csi"] = {"enabled": False}  # a node has one driver for all releases
    release["agents"]["experts"] = {"architecture": None}

    def helm(*words: str) -> str:
        done = subprocess.run(
            [os.environ[program], *words, "--namespace", second_namespace],
            input=json.dumps(release),
            env={**os.environ, "KUBECONFIG": str(KUBECONFIG)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    chart = str(ROOT / "charts" / "lighthouse")
    helm("install", "second", chart, "--values", "-", *flags, "--wait", "--timeout", "2m")
    (before,) = pods(
        cluster, second_namespace, "app.kubernetes.io/instance=second,app.kubernetes.io/component=bridge"
    )
    helm("upgrade", "second", chart, "--values", "-", *flags, "--wait", "--timeout", "2m")
    (after,) = pods(
        cluster, second_namespace, "app.kubernetes.io/instance=second,app.kubernetes.io/component=bridge"
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    helm("uninstall", "second", "--wait")

    def left() -> list[str]:
        kinds = "all,secrets,serviceaccounts,csidrivers,clusterroles,namespaces"
        items = cluster.get(kinds, "--all-namespaces", "--selector", "app.kubernetes.io/instance=second")[
            "items"
        ]
        return [f"{item['kind']}/{item['metadata']['name']}" for item in items]

    eventually(lambda: not left(), 60, f"nothing left of the second release but {left()}")
