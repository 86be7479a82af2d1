"""The planner's figures: the review's sum, the load model, the costs and where the prices come from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from ci.capacity.__main__ import describe
from ci.capacity.cost import bill, nodes_needed
from ci.capacity.data import read_measured, read_prices, read_review
from ci.capacity.live import live_nodes
from ci.capacity.load import Load, check, from_report, plan
from ci.capacity.shapes import counted
from ci.settings import ROOT
from lighthouse_bridge import database, redis_shared
from lighthouse_harness.capacity import GIB, total
from lighthouse_harness.packing import Node, fit

if TYPE_CHECKING:
    from pathlib import Path

REPORT = {
    "machine": {"processors": 2, "kernel": "6"},
    "throughput": {"runs": {"one processor": {"rates": {"bridge": [4000, 5000, 6000]}}}},
    "tiers": {
        "memory": {"server_us": 200},
        "policy": {"server_us": 500},
        "review, asked before": {"server_us": 300},
    },
    "endurance": {
        "requests": 1000,
        "events": 1900,
        "bytes_per_event": 900,
        "samples": [{"resident_mib": 120}, {"resident_mib": 130}],
    },
}


@pytest.mark.proves(6, level="rendered")
def test_the_reviews_sum_is_reproduced_from_its_inputs() -> None:
    found = total(counted(read_review()), 3)
    assert (int(found.cpu_limit), int(found.memory_limit / GIB)) == (30, 108)


@pytest.mark.proves(7, level="rendered")
def test_the_host_that_the_review_refused_is_refused_with_the_reason() -> None:
    review = read_review()
    host = Node("host", Fraction(str(review.host.cpu)), Fraction(str(review.host.memory_gib)) * GIB)
    assert fit(counted(review), [host], by_limits=True).reasons == (
        "30 CPU are needed and 24 there: 6 short",
        "108 GiB of memory are needed and 61 there: 47 short",
    )


def capacity(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ci.capacity", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.proves(7, level="rendered")
def test_the_command_refuses_that_host_and_takes_nodes_that_hold_production() -> None:
    refused = capacity("fit", "--profile", "the review", "--nodes", "1x24:61")
    assert refused.returncode == 1
    assert refused.stdout.splitlines() == [
        "does not fit: 30 CPU are needed and 24 there: 6 short",
        "does not fit: 108 GiB of memory are needed and 61 there: 47 short",
    ]
    small = capacity("fit", "--profile", "production", "--nodes", "3x8:32")
    assert small.returncode == 1
    assert "does not fit: " in small.stdout
    enough = capacity("fit", "--profile", "production", "--nodes", "4x32:128")
    assert enough.returncode == 0, enough.stdout + enough.stderr
    assert "fits, also when one node is lost" in enough.stdout


@pytest.mark.parametrize("form", ["table", "json", "plot"])
def test_what_a_release_needs_is_told_as_table_json_and_plot(form: str) -> None:
    shown = capacity("show", "--format", form)
    assert shown.returncode == 0, shown.stderr
    assert "lighthouse-bridge" in shown.stdout
    if form == "json":
        rows = {row[""]: row for row in json.loads(shown.stdout)}
        assert {"sum", "lighthouse-fuse-csi"} <= set(rows)


def test_values_that_the_chart_refuses_are_refused_in_one_sentence(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("bridge: {resources: {limits: {cpu: 10k}}}\n")
    shown = capacity("show", "--values", str(values))
    assert shown.returncode == 2
    (line,) = [line for line in shown.stderr.splitlines() if line.startswith("error: ")]
    assert "/resources/limits/cpu" in line
    assert "'10k'" in line
    assert "Traceback" not in shown.stderr


def test_more_agents_need_more_bridges_connections_and_storage() -> None:
    measured = read_measured()
    few, many = plan(Load(100), measured), plan(Load(200_000), measured)
    assert few.bridges == 3
    assert many.bridges > 3
    assert many.connections == 200_004
    assert many.gib_a_day == pytest.approx(few.gib_a_day * 2000)
    assert few.gib(30) == few.gib_a_day * 30


def test_connections_to_the_stores_are_what_bridges_may_open() -> None:
    found = plan(Load(1000), read_measured())
    assert found.bridges == 3
    assert found.postgres_connections == 4 * (database.READERS + 2)
    assert found.redis_connections == 4 * redis_shared.CONNECTIONS


def test_the_storage_of_a_load_is_events_times_bytes() -> None:
    measured = read_measured()
    found = plan(Load(60, per_minute=1, hours_a_day=1), measured)
    assert found.gib_a_day * 2**30 == pytest.approx(
        3600 * measured.events_per_validation * measured.bytes_per_event
    )


def test_shares_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        plan(Load(1, hit_rate=0.99, review_rate=0.05), read_measured())


def test_a_report_agrees_with_a_model_made_of_it_and_not_with_another() -> None:
    figures = from_report(REPORT, "2026-01-01")
    assert figures["saturated_per_second"] == 5000
    measured = type(read_measured())(**{**figures, "microseconds": read_measured().microseconds})
    assert {one.name for one in check(measured, REPORT) if not one.holds} <= {
        "microseconds of a validation from memory"
    }
    halved = {**REPORT, "endurance": {**REPORT["endurance"], "bytes_per_event": 3000}}  # type: ignore[dict-item]  # a mapping
    assert "MiB stored by the endurance run" in {one.name for one in check(measured, halved) if not one.holds}


@pytest.mark.proves(8, level="rendered")
def test_every_price_names_when_where_and_how_it_was_read() -> None:
    prices = read_prices()
    assert len(prices.providers) >= 4
    for provider in prices.providers.values():
        named = " ".join(one.price for one in provider.sources)
        wanted = {"node", "disk", "object storage"} | (
            {"control plane"} if provider.control_plane_per_hour else set()
        )
        assert not {name for name in wanted if name not in named}, provider.title
        assert all(one.as_of and one.obtained and one.where for one in provider.sources), provider.title


def test_the_nodes_that_are_paid_for_survive_the_loss_of_one() -> None:
    prices, shape = read_prices(), counted(read_review())
    provider = prices.providers["aws"]
    count = nodes_needed(shape, provider, prices)
    one = bill(shape, provider, prices, stored_gib=100)
    assert one.nodes == count
    assert one.compute == pytest.approx(count * provider.node.per_hour * prices.hours_per_month)
    assert one.month == one.compute + one.disks + one.backups + one.control_plane
    assert bill(shape, provider, prices, stored_gib=10_000).month > one.month


def test_a_load_that_needs_more_bridges_costs_more() -> None:
    prices, shape = read_prices(), counted(read_review())
    provider = prices.providers["aws"]
    replicas = next(one.replicas for one in shape if one.component == "bridge")
    few = bill(shape, provider, prices, bridges=replicas - 1)
    assert few == bill(shape, provider, prices)
    many = bill(shape, provider, prices, bridges=replicas + 20)
    assert many.nodes > few.nodes
    assert many.compute > few.compute


def live_pod(node: str, cpu: str, memory: str, **more: Any) -> dict[str, Any]:
    resources = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": "2Gi"}}
    return {
        "metadata": {"labels": more.get("labels", {})},
        "spec": {
            "nodeName": node,
            "containers": [{"resources": resources}],
            "initContainers": more.get("init", []),
        },
        "status": {"phase": more.get("phase", "Running")},
    }


def live_node(name: str, **spec: Any) -> dict[str, Any]:
    allocatable = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return {"metadata": {"name": name}, "spec": spec, "status": {"allocatable": allocatable}}


def test_what_other_pods_take_of_a_live_node_is_not_offered() -> None:
    sidecar = {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}
    pods = [
        live_pod("a", "1", "1Gi", init=[sidecar]),
        live_pod("a", "1", "1Gi", phase="Succeeded"),
        live_pod("a", "1", "1Gi", labels={"app.kubernetes.io/instance": "lighthouse"}),
        live_pod("b", "250m", "1Gi"),
    ]
    nodes = [live_node("a"), live_node("b"), live_node("c", unschedulable=True)]
    by_requests = live_nodes(nodes, pods, by_limits=False)
    assert [(node.name, node.cpu, int(node.memory / GIB), node.pods) for node in by_requests] == [
        ("a", Fraction("2.5"), 7, 109),
        ("b", Fraction("3.75"), 7, 109),
    ]
    by_limits = live_nodes(nodes, pods, by_limits=True)
    assert [(node.cpu, int(node.memory / GIB)) for node in by_limits] == [
        (Fraction("2.5"), 6),
        (Fraction("3.75"), 6),
    ]


def test_a_live_node_with_a_taint_takes_only_pods_that_tolerate_it() -> None:
    taint = {"key": "dedicated", "value": "database", "effect": "NoSchedule"}
    nodes = live_nodes([live_node("a", taints=[taint])], [], by_limits=False)
    (bridge,) = (one for one in counted(read_review()) if one.component == "bridge")
    small = replace(bridge, replicas=1, cpu=Fraction(1), memory=Fraction(GIB))
    assert fit([small], nodes).reasons == (
        "a pod of bridge needs 1 CPU and 1 GiB, and no node that it may run on has both free",
    )
    assert fit([replace(small, tolerations=(taint,))], nodes).fits
    soft = live_nodes([live_node("a", taints=[{**taint, "effect": "PreferNoSchedule"}])], [], by_limits=False)
    assert fit([small], soft).fits


def test_the_cost_of_building_is_the_sum_of_its_parts() -> None:
    assert [sum(one.parts) for one in read_prices().build] == [220, 280]


def test_nodes_are_described_in_a_word() -> None:
    found = describe("2x16:64,1x4:8")
    assert [(int(node.cpu), int(node.memory / GIB)) for node in found] == [(16, 64), (16, 64), (4, 8)]
    with pytest.raises(ValueError, match="write 3x16:64"):
        describe("16:64")
