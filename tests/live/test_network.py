"""The table of flows, enforced: every pair of pods and ports tried on the running cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ci.cluster.lifecycle import current
from ci.release import CHART
from ci.settings import NAMESPACE, RELEASE
from tests.chart.flow_scenarios import CAPABILITY, Scenario, named
from tests.live.knocking import Target, knock, restricted_pod
from tests.live.matrix import Place, endpoint_of, place, port_targets
from tests.live.support import AGENTS, CSI, Container, agent, applied, component, eventually, pods

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster

pytestmark = pytest.mark.live

METADATA = "169.254.169.254"
STRANGERS = "default"
CLIENTS, MONITORING = "matrix-clients", "matrix-monitoring"
SCRAPER = {"app.kubernetes.io/name": "prometheus"}
HOOK = {"role": "hook"}
KNOCKERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "unlabelled beside the bridge": ("unlabelled", NAMESPACE, {}),
    "labelled beside the bridge": ("labelled", NAMESPACE, CAPABILITY),
    "unlabelled beside the agents": ("unlabelled", AGENTS, {}),
    "labelled beside the agents": ("labelled", AGENTS, CAPABILITY),
    "stranger": ("unlabelled", STRANGERS, {}),
    "stranger with our label": ("labelled", STRANGERS, CAPABILITY),
    "listed client": ("hook", CLIENTS, HOOK),
    "neighbour of the listed client": ("other", CLIENTS, CAPABILITY),
    "monitoring": ("prometheus", MONITORING, SCRAPER),
    "neighbour of monitoring": ("other", MONITORING, CAPABILITY),
}
"""Pods that knock, beside those of the release: name, namespace and labels. The guardrails let no pod but the driver's
into its namespace."""


@dataclass(frozen=True)
class Ground:
    """What knocks, what is knocked at, and the release's policies between them."""

    sources: dict[str, Container]
    endpoints: dict[str, str]
    """The pod of each source, as the harness names it."""
    targets: list[Target]
    place: Place


@pytest.fixture(scope="module")
def release(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The values of the release, which admits a listed client and a Prometheus for as long as this module runs."""
    before: dict[str, Any] = json.loads(cluster.helm("get", "values", RELEASE, "-n", NAMESPACE, "-o", "json"))
    policies = before.get("networkPolicies", {})
    admitted = {
        "clients": [*policies.get("clients", []), named(CLIENTS, **HOOK)],
        "monitoring": [*policies.get("monitoring", []), named(MONITORING, **SCRAPER)],
    }
    values = before | {"networkPolicies": policies | admitted}
    file = tmp_path_factory.mktemp("values") / "values.json"
    _upgrade(cluster, values, file)
    yield values
    _upgrade(cluster, before, file)


def _upgrade(cluster: Cluster, values: dict[str, Any], file: Path) -> None:
    """Give the release exactly these values; only policies differ, so that no pod restarts."""
    file.write_text(json.dumps(values))
    words = ["--namespace", NAMESPACE, "--reset-values", "--values", str(file), "--wait", "--timeout", "2m"]
    cluster.helm("upgrade", RELEASE, CHART, *words)


@pytest.fixture(scope="module")
def knockers(cluster: Cluster, release: dict[str, Any]) -> Iterator[dict[str, Container]]:
    """Pods that have no business here, and some that have, all on the node that has the metadata service."""
    assert release
    image = agent(cluster).status()["image"]
    places = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (CLIENTS, MONITORING)
    ]
    made = []
    for name, namespace, labels in KNOCKERS.values():
        pod = restricted_pod(name, namespace, image, labels)
        pod["spec"]["nodeSelector"] = {"kubernetes.io/hostname": current()[0].name}
        made.append(pod)
    with applied(cluster, *places), applied(cluster, *made):
        for name, namespace, _ in KNOCKERS.values():
            cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "-n", namespace, "--timeout=60s")
        time.sleep(2)  # policies reach new pods within this
        yield {
            title: Container(cluster, namespace, name, "knock")
            for title, (name, namespace, _) in KNOCKERS.items()
        }


@pytest.fixture(scope="module")
def metadata() -> Iterator[None]:
    """A metadata service of a cloud, on the first node."""
    in_node = ["nsenter", f"--net=/run/netns/{current()[0].namespace}"]
    address = [f"{METADATA}/32", "dev", "lo"]
    subprocess.run([*in_node, "ip", "address", "add", *address], check=True)
    # The library's HTTP server would ask the machine's resolver for its own name before it listens.
    program = "import sys; from socketserver import *; TCPServer((sys.argv[1], 80), BaseRequestHandler).serve_forever()"
    server = subprocess.Popen([*in_node, sys.executable, "-c", program, METADATA])
    listening = [*in_node, "ss", "--no-header", "--listening", "--tcp", "--numeric", "src", f"{METADATA}:80"]
    try:
        eventually(
            lambda: bool(subprocess.run(listening, check=True, stdout=subprocess.PIPE).stdout),
            30,
            "the metadata service listens",
        )
        yield
    finally:
        server.terminate()
        server.wait()
        subprocess.run([*in_node, "ip", "address", "del", *address], check=True)


@pytest.fixture(scope="module")
def ground(
    cluster: Cluster, release: dict[str, Any], knockers: dict[str, Container], metadata: None
) -> Ground:
    """All who knock, and everything that could be reached, which listens but for one port of each pod."""
    assert metadata is None
    (bridge,) = pods(cluster, NAMESPACE, component("bridge"))
    (driver, *_) = pods(cluster, CSI, component("fuse-csi"))
    (dns, *_) = pods(cluster, "kube-system", "k8s-app=kube-dns")
    own, other = (
        cluster.get("pod", agent(cluster, expert).pod, "-n", AGENTS)
        for expert in ("security", "architecture")
    )
    sources = {
        "bridge": Container(cluster, NAMESPACE, bridge["metadata"]["name"], "bridge"),
        "driver": Container(cluster, CSI, driver["metadata"]["name"], "driver"),
        "agent": agent(cluster),
        "sidecar": agent(cluster, container="fuse"),
    } | knockers
    service = cluster.get("service", "lighthouse-bridge", "-n", NAMESPACE)["spec"]["clusterIP"]
    nodes = current()
    addresses = {"api-server": str(nodes[0].address), "kubelet": str(nodes[0].address), "metadata": METADATA}
    targets = [
        Target("bridge's service", service, 8765, endpoint=endpoint_of(bridge)),
        *port_targets("bridge", bridge),
        *port_targets("another agent", other),
        *port_targets("driver", driver),
        *port_targets("DNS", dns),
        Target("API server", addresses["api-server"], 6443, endpoint="api-server"),
        Target("kubelet", addresses["kubelet"], 10250, endpoint="kubelet"),
        Target("metadata", METADATA, 80, endpoint="metadata"),
    ]
    there = [cluster.get("pod", container.pod, "-n", container.namespace) for container in knockers.values()]
    scenario = Scenario(
        release,
        {"clients": [f"{CLIENTS}/hook"], "monitoring": [f"{MONITORING}/prometheus"]},
        release=RELEASE,
        namespace=NAMESPACE,
    )
    manifest = cluster.helm("get", "manifest", RELEASE, "--namespace", NAMESPACE)
    endpoints = {name: f"{container.namespace}/{container.pod}" for name, container in sources.items()}
    everything = place(manifest, scenario, [bridge, driver, own, other, dns, *there], addresses)
    return Ground(sources, endpoints, targets, everything)


@pytest.mark.proves(22, 28, level="running")
def test_every_cell_of_the_matrix_is_as_the_table_of_flows_says(ground: Ground) -> None:
    expected, apart = ground.place.allowed(ground.endpoints, ground.targets)
    assert apart == [], "the table and the evaluator differ"
    matrix = knock(ground.sources, ground.targets, expected)
    print(matrix)
    assert matrix.wrong == []
    assert matrix.unheard == []
    assert matrix.cells > 300
    assert len(set(expected.values())) == 3, "the matrix must have cells that are open, refused and silent"
