"""Redis on a running cluster, under load, while it loses pods, machines, and everything at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.live.support import eventually
from tests.production.redis.conftest import NODES
from tests.production.redis.probe import SECOND_OF_WRITES, Event, kill_a_primary, told, watched

if TYPE_CHECKING:
    from tests.live.support import Container
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live

WHOLE_SECONDS = 60.0


@pytest.mark.proves(20, level="running")
def test_the_cluster_is_whole_with_every_replica_on_another_machine(
    release: Release, beside: Container
) -> None:
    with watched(beside, release.shape) as (watch, _):

        def apart() -> bool:
            seen = watch.lines[-1]
            places, follows = seen["places"], seen["follows"]
            return len(follows) == 3 and all(places[p] != places[str(q)] for p, q in follows.items())

        # The keeper moves roles between machines once all has been calm for a while.
        eventually(apart, 150, "every replica is on another machine than its primary")
        assert watch.lines[-1]["slots"] == 16384
        assert len(set(watch.lines[-1]["places"].values())) > 1


def test_one_pod_is_deleted(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        (pod, *_) = sorted(watch.lines[-1]["follows"])
        event = Event(watch, load)
        release.delete(f"{release.shape[0]}-{pod}")
        whole = event.wait_whole(120, at_least=5)
        time.sleep(3)
    told(report, "one replica's pod deleted", event, whole)
    assert event.errors()[0] == 0


def test_a_primary_hands_over_before_it_stops(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        (pod, *_) = sorted(watch.lines[-1]["held"])
        event = Event(watch, load)
        release.delete(f"{release.shape[0]}-{pod}")
        whole = event.wait_whole(120, at_least=5)
        time.sleep(3)
    told(report, "one primary's pod deleted: it hands over", event, whole)
    assert event.incomplete() < 5
    assert event.lost() == 0


def test_a_primary_is_killed_under_load(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        kill_a_primary(release, watch)
        whole = event.wait_whole(150, at_least=10)
        time.sleep(3)
    told(report, "one primary frozen and killed", event, whole)
    assert event.incomplete() < 30
    assert event.lost() <= SECOND_OF_WRITES


@pytest.mark.proves(20, level="survives")
def test_all_pods_at_once_ten_times(release: Release, beside: Container, report: Report) -> None:
    slow = []
    for turn in range(1, 11):
        with watched(beside, release.shape) as (watch, load):
            names = release.alive()
            assert len(names) == 6
            event = Event(watch, load)
            release.delete(*names, now=turn % 2 == 0)
            whole = event.wait_whole(180, at_least=5)
            time.sleep(2)
        how = "no time to stop" if turn % 2 == 0 else "stopped in order"
        told(report, f"all pods at once, {turn} of 10 ({how})", event, whole)
        if whole > WHOLE_SECONDS:
            slow.append((turn, whole))
    assert slow == []


def test_the_chart_is_upgraded_pod_by_pod(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        release.upgrade(maxClients=release.overrides.get("maxClients", 1000) + 1)
        release.cluster.kubectl(
            "rollout", "status", f"statefulset/{release.shape[0]}", "-n", "lighthouse", "--timeout=600s"
        )
        whole = event.wait_whole(700)
        time.sleep(3)
    told(report, "rolling upgrade of all pods", event, whole)
    assert event.lost() == 0
    assert len(release.cluster.get("pods", "-n", "lighthouse", "-l", NODES)["items"]) == 6
