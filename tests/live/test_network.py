"""The table of flows, enforced: every pair of pods and ports tried on the running cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ci.cluster.lifecycle import current
from ci.settings import NAMESPACE
from tests.live.knocking import Target, knock, restricted_pod
from tests.live.support import AGENTS, CSI, Container, agent, applied, component, pods

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster

pytestmark = pytest.mark.live

METADATA = "169.254.169.254"
STRANGERS = "default"
CAPABILITY = {"lighthouse.dev/access-bridge": "true"}


@pytest.fixture(scope="module")
def sources(cluster: Cluster) -> Iterator[dict[str, Container]]:
    """Where connections come from: each component, and pods that have no business here."""
    image = agent(cluster).status()["image"]
    made = {
        "unlabelled beside the bridge": restricted_pod("knock", NAMESPACE, image, {}),
        "labelled beside the bridge": restricted_pod("knock-labelled", NAMESPACE, image, CAPABILITY),
        "unlabelled beside the agents": restricted_pod("knock", AGENTS, image, {}),
        "stranger": restricted_pod("knock", STRANGERS, image, {}),
        "stranger with our label": restricted_pod("knock-labelled", STRANGERS, image, CAPABILITY),
    }
    with applied(cluster, *made.values()):
        for pod in made.values():
            where = ["-n", pod["metadata"]["namespace"], "--timeout=60s"]
            cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod['metadata']['name']}", *where)
        time.sleep(2)  # policies reach new pods within this
        (bridge,) = pods(cluster, NAMESPACE, component("bridge"))
        (driver, *_) = pods(cluster, CSI, component("fuse-csi"))
        yield {
            "bridge": Container(cluster, NAMESPACE, bridge["metadata"]["name"], "bridge"),
            "driver": Container(cluster, CSI, driver["metadata"]["name"], "driver"),
            "agent": agent(cluster),
            "sidecar": agent(cluster, container="fuse"),
        } | {
            name: Container(cluster, pod["metadata"]["namespace"], pod["metadata"]["name"], "knock")
            for name, pod in made.items()
        }


@pytest.fixture(scope="module")
def targets(cluster: Cluster) -> Iterator[list[Target]]:
    """What could be reached, all of it listening, a metadata service of a cloud among it."""

    def address(namespace: str, selector: str) -> str:
        return str(pods(cluster, namespace, selector)[0]["status"]["podIP"])

    node = current()[0]
    in_node = ["nsenter", f"--net=/run/netns/{node.namespace}"]
    add = [*in_node, "ip", "address", "add", f"{METADATA}/32", "dev", "lo"]
    subprocess.run(add, check=True)
    server = subprocess.Popen(
        [
            *in_node,
            sys.executable,
            "-m",
            "http.server",
            "--bind",
            METADATA,
            "--directory",
            "/proc/self/ns",
            "80",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    service = cluster.get("service", "lighthouse-bridge", "-n", NAMESPACE)["spec"]["clusterIP"]
    dns = address("kube-system", "k8s-app=kube-dns")
    bridge, driver = address(NAMESPACE, component("bridge")), address(CSI, component("fuse-csi"))
    other = cluster.get("pod", agent(cluster, "architecture").pod, "-n", AGENTS)["status"]["podIP"]
    try:
        yield [
            Target("bridge's service", service, 8765),
            Target("bridge", bridge, 8765),
            Target("bridge's metrics", bridge, 8080),
            Target("another agent", other, 8081),
            Target("another agent", other, 8083),
            Target("driver", driver, 8082),
            Target("DNS", dns, 53),
            Target("DNS", dns, 53, "UDP"),
            Target("DNS metrics", dns, 9153),
            Target("API server", str(current()[0].address), 6443),
            Target("kubelet", str(node.address), 10250),
            Target("metadata", METADATA, 80),
        ]
    finally:
        server.terminate()
        server.wait()
        subprocess.run([word if word != "add" else "del" for word in add], check=True)


USER = {"bridge's service", "bridge", "DNS"}
STRANGER = {"DNS", "DNS metrics", "API server", "kubelet", "metadata"}
MAY = {
    "bridge": set[str](),
    "driver": set[str](),
    "unlabelled beside the bridge": set[str](),
    "unlabelled beside the agents": set[str](),
    "agent": USER,
    "sidecar": USER,
    "labelled beside the bridge": USER,
    "stranger": STRANGER,
    "stranger with our label": STRANGER,
}


@pytest.mark.proves(28, level="running")
def test_every_cell_of_the_matrix_is_as_the_table_of_flows_says(
    sources: dict[str, Container], targets: list[Target]
) -> None:
    assert sources.keys() == MAY.keys()
    assert {name for names in MAY.values() for name in names} <= {target.name for target in targets}
    matrix = knock(sources, targets, MAY)
    print(f"{matrix.cells} cells, {matrix.opened} open, {len(matrix.wrong)} wrong")
    assert matrix.wrong == []
