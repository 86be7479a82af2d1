"""What the live matrix expects, tried on renders: table and policies agree on pods as a cluster would have them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.documents import thaw
from tests.chart.chart_render import helm, helms
from tests.live.knocking import KNOCK, OPEN, REFUSED, SILENT, Target
from tests.live.matrix import CLOSED_PORT, Place, endpoint_of, place, port_targets

from .conftest import CHART
from .flow_scenarios import CAPABILITY, OPENING, SCENARIOS, Scenario, request_of

if TYPE_CHECKING:
    from lighthouse_harness.render import Renderer

ADMITTING = replace(
    SCENARIOS["clients and Prometheus admitted"], peers={"monitoring": ["monitoring/prometheus"]}
)
STORES = {"database": {"host": "postgres.data", "existingSecret": "a", "existingTlsSecret": "b"}}
WITH_REDIS = Scenario(
    {
        "redis": {"enabled": True},
        "bridge": STORES
        | {"redis": {"host": "lighthouse-redis", "existingSecret": "a", "existingTlsSecret": "b"}},
        "agents": {"enabled": False},
        "fuse-csi": {"enabled": False},
    }
)


def pod(
    namespace: str, name: str, labels: dict[str, str], spec: dict[str, Any], address: str
) -> dict[str, Any]:
    """A pod as an API server has it."""
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": spec,
        "status": {"podIP": address},
    }


def cluster(renderer: Renderer, scenario: Scenario) -> dict[str, dict[str, Any]]:
    """The pods of a render with endings to their names, as controllers make them, and others beside them."""
    made = []
    for template in renderer.render(request_of(scenario)).pods:
        document = thaw(template.document)
        made.append(
            (
                f"{template.namespace}/{template.object.name}-7d9c-x2x",
                document["metadata"]["labels"],
                document["spec"],
            )
        )
    nobody: dict[str, Any] = {"containers": [{"name": "knock", "image": "knock"}]}
    ports = [{"containerPort": 53, "protocol": protocol} for protocol in ("TCP", "UDP")]
    dns = {"containers": [{"name": "dns", "image": "dns", "ports": ports}]}
    made += [
        (f"{space}/{name}", labels, nobody)
        for space in (*scenario.namespaces, "default")
        for name, labels in (("unlabelled", {}), ("labelled", CAPABILITY))
    ]
    made.append(("monitoring/prometheus", {"app.kubernetes.io/name": "prometheus"}, nobody))
    made.append(("kube-system/coredns-5f6-abc", {"k8s-app": "kube-dns"}, dns))
    found = {}
    for number, (name, labels, spec) in enumerate(made, 1):
        namespace, _, own = name.partition("/")
        found[name] = pod(namespace, own, labels, spec, f"10.244.1.{number}")
    return found


def manifest(scenario: Scenario) -> str:
    """What `helm get manifest` would give."""
    program = helms()["helm4"]
    assert program
    words = (
        "template",
        scenario.release,
        CHART,
        "--namespace",
        scenario.namespace,
        "--kube-version",
        "1.33.0",
    )
    return helm(program, *words, values=scenario.values)


def ground(scenario: Scenario, there: dict[str, dict[str, Any]], text: str) -> tuple[Place, list[Target]]:
    """Everything there as sources and targets."""
    found = place(text, scenario, there.values(), {"api-server": "172.18.0.2", "metadata": "169.254.169.254"})
    targets = [target for name, each in there.items() for target in port_targets(name, each)]
    targets += [
        Target("API server", "172.18.0.2", 6443, endpoint="api-server"),
        Target("metadata", "169.254.169.254", 80, endpoint="metadata"),
    ]
    return found, targets


@pytest.fixture(name="admitting", scope="module")
def _admitting(renderer: Renderer) -> tuple[dict[str, dict[str, Any]], str]:
    return cluster(renderer, ADMITTING), manifest(ADMITTING)


@pytest.mark.parametrize("scenario", [ADMITTING, WITH_REDIS], ids=["agents", "Redis"])
def test_table_and_policies_agree_on_every_cell(scenario: Scenario, renderer: Renderer) -> None:
    there = cluster(renderer, scenario)
    found, targets = ground(scenario, there, manifest(scenario))
    answers, apart = found.allowed({name: endpoint_of(each) for name, each in there.items()}, targets)
    assert apart == []
    assert len(answers) > 200
    assert set(answers.values()) == {OPEN, REFUSED, SILENT}


def test_an_agent_is_expected_to_reach_the_bridge_and_dns_alone(
    admitting: tuple[dict[str, dict[str, Any]], str],
) -> None:
    there, text = admitting
    found, targets = ground(ADMITTING, there, text)
    (name,) = (name for name in there if "agents-security" in name)
    answers, _ = found.allowed({name: endpoint_of(there[name])}, targets)
    assert {str(target): answer for (_, target), answer in answers.items() if answer != SILENT} == {
        "lighthouse/lighthouse-bridge-7d9c-x2x TCP/8765": OPEN,
        "kube-system/coredns-5f6-abc TCP/53": OPEN,
        "kube-system/coredns-5f6-abc UDP/53": OPEN,
    }


def test_every_lost_policy_of_a_component_sets_table_and_policies_apart(
    admitting: tuple[dict[str, dict[str, Any]], str],
) -> None:
    there, text = admitting
    sources = {name: endpoint_of(each) for name, each in there.items()}
    for lost in ("bridge", "agents", "fuse-csi", "access-bridge", "default-deny"):
        kept = [part for part in text.split("\n---\n") if not _is(part, lost)]
        found, targets = ground(ADMITTING, there, "\n---\n".join(kept))
        _, apart = found.allowed(sources, targets)
        assert apart, f"without the policies {lost} nothing differs"


def _is(part: str, lost: str) -> bool:
    return "kind: NetworkPolicy" in part and f"\n  name: lighthouse-{lost}\n" in part


def test_each_port_is_a_target_over_both_protocols_and_one_is_closed(
    admitting: tuple[dict[str, dict[str, Any]], str],
) -> None:
    there, _ = admitting
    (name,) = (name for name in there if "agents-security" in name)
    found = port_targets("agent", there[name])
    assert {(target.port, target.protocol, target.listens) for target in found} == {
        (port, protocol, protocol == "TCP" and port != CLOSED_PORT)
        for port in (8081, 8083, CLOSED_PORT)
        for protocol in ("TCP", "UDP")
    }
    assert OPENING["networkPolicies"]["monitoring"], (
        "the sidecar's and the agent's ports are those of metrics"
    )


def test_a_knock_tells_a_listener_from_none_and_from_silence() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as tcp,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as mute,
        closing(socket.socket()) as nobody,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as gone,
    ):
        for each in (server, mute, nobody, gone):
            each.bind(("127.0.0.1", 0))
        gone_port = gone.getsockname()[1]
        gone.close()

        def answer() -> None:
            _, sender = server.recvfrom(512)
            server.sendto(b"answer", sender)

        thread = Thread(target=answer)
        thread.start()
        asked = [
            [*tcp.getsockname(), "TCP"],
            [*nobody.getsockname(), "TCP"],
            [*server.getsockname(), "UDP"],
            ["127.0.0.1", gone_port, "UDP"],
            [*mute.getsockname(), "UDP"],
        ]
        words = [sys.executable, "-c", KNOCK, json.dumps(asked)]
        told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        thread.join()
    assert told == [OPEN, REFUSED, OPEN, REFUSED, SILENT]
