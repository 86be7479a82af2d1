"""Redis on a running cluster, under load, while a machine stops and while volumes are full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ci.cluster import lifecycle
from tests.live.support import PYTHON, eventually
from tests.production.postgres import faults
from tests.production.redis.conftest import DOMAIN, NAME
from tests.production.redis.probe import SLOTS, Event, Program, told, watched

if TYPE_CHECKING:
    from tests.live.support import Container
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live


def fewer_serve_all(watch: Program) -> bool:
    """Whether not all pods answer, and those that do serve every slot."""
    seen = watch.lines[-1]
    return seen["slots"] == SLOTS and len(seen["pods"]) < 6


def test_one_machine_stops_and_comes_back(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        places = watch.lines[-1]["places"]
        here = release.cluster.get("pod", beside.pod, "-n", beside.namespace)["spec"]["nodeName"]
        # One with a primary, and not that of the client or of the cluster's own servers.
        away = [
            places[pod]
            for pod in watch.lines[-1]["held"]
            if places[pod] not in {lifecycle.current()[0].name, here}
        ]
        assert away, f"no machine with a primary can be stopped: {places}"
        event = Event(watch, load)
        with faults.stopped_node(faults.node_named(away[0])):
            served = eventually(
                lambda: watch.lines[-1]["slots"] == 16384 and len(watch.lines[-1]["pods"]) < 6,
                60,
                "the others serve every slot",
            )
            time.sleep(30)
        whole = event.wait_whole(240, at_least=served)
        time.sleep(3)
    told(report, "one machine stopped for half a minute", event, whole)
    assert event.incomplete() < 60

    # A pod that is made there now has a network, too.
    moved = next(pod for pod, place in places.items() if place == away[0])
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        release.delete(f"{NAME}-{moved}")
        event.wait_whole(120, at_least=5)


def test_volumes_of_one_machine_are_full(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        (pod, *_) = sorted(watch.lines[-1]["held"])
        event = Event(watch, load)
        with faults.full_volumes(faults.node_named(watch.lines[-1]["places"][pod])):
            time.sleep(30)
        whole = event.wait_whole(180)
        time.sleep(5)
        before = len(load.lines)
        eventually(
            lambda: any(line["done"] and not line["errors"] for line in load.lines[before:]), 60, "writes"
        )
    told(report, "volumes of one primary's machine full for half a minute", event, whole)


def test_who_shows_no_password_is_refused(beside: Container) -> None:
    script = (
        "import sys\nfrom redis import Redis\nfrom redis.exceptions import RedisError\n"
        "r = Redis(host=sys.argv[1], ssl=True, ssl_ca_certs='/etc/lighthouse/redis-tls/ca.crt', socket_timeout=3)\n"
        "try:\n    print(r.ping())\nexcept RedisError as e:\n    print(type(e).__name__, e)"
    )
    said = beside.output(PYTHON, "-I", "-c", script, f"{NAME}-0.{DOMAIN}")
    assert said.startswith("AuthenticationError")
