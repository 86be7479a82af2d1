"""Redis on a running cluster, under load, while a machine stops and while volumes are full."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from ci.cluster import lifecycle
from ci.console import Failure
from ci.settings import NAMESPACE
from tests.live.support import PYTHON, eventually
from tests.production.postgres import faults
from tests.production.redis.conftest import DOMAIN, KEEPER, NAME
from tests.production.redis.probe import SECOND_OF_WRITES, SLOTS, Event, Program, told, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster
    from tests.live.support import Container
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live


KEEPER_SECONDS = 150
"""Within which another keeper works: Kubernetes takes up to 50 s to find a machine lost, and without the chart's
tolerations 300 s more."""


@contextlib.contextmanager
def cordoned(cluster: Cluster, *names: str) -> Iterator[None]:
    """Machines that take no new pod for the body."""
    cluster.kubectl("cordon", *names)
    try:
        yield
    finally:
        cluster.kubectl("uncordon", *names)


def evict(cluster: Cluster, pod: str, **options: Any) -> None:
    """Evict a pod as a drain does; raises Failure."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
        "deleteOptions": options,
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction).encode())


def keepers(cluster: Cluster) -> list[str]:
    """The machines of the keepers that run and are not to stop."""
    return [
        pod["spec"]["nodeName"]
        for pod in cluster.get("pods", "-n", NAMESPACE, "-l", KEEPER)["items"]
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]


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
            served = eventually(lambda: fewer_serve_all(watch), 60, "the others serve every slot")
            time.sleep(30)
        whole = event.wait_whole(240, at_least=served)
        time.sleep(3)
    told(report, "one machine stopped for half a minute", event, whole)
    assert event.incomplete() < 60
    assert event.lost() <= SECOND_OF_WRITES

    # A pod that is made there now has a network, too.
    moved = next(pod for pod, place in places.items() if place == away[0])
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        release.delete(f"{NAME}-{moved}")
        event.wait_whole(120, at_least=5)


def test_an_eviction_that_would_take_a_second_node_is_refused(release: Release, beside: Container) -> None:
    cluster = release.cluster

    def budget() -> tuple[int, int]:
        status = cluster.get("poddisruptionbudget", NAME, "-n", NAMESPACE)["status"]
        return status["currentHealthy"], status["disruptionsAllowed"]

    with watched(beside, release.shape) as (watch, load):
        gone, other, *_ = (f"{NAME}-{pod}" for pod in sorted(watch.lines[-1]["held"]))
        eventually(lambda: budget() == (6, 1), 60, "all six are healthy")
        evict(cluster, other, dryRun=["All"])  # is allowed
        event = Event(watch, load)
        with cordoned(cluster, *(node["metadata"]["name"] for node in cluster.get("nodes")["items"])):
            release.delete(gone)
            eventually(lambda: budget() == (5, 0), 60, "one is missing")
            with pytest.raises(Failure, match="disruption budget"):
                evict(cluster, other)
            assert other in release.alive()
        event.wait_whole(180, at_least=5)


def test_another_keeper_works_soon_after_the_machine_of_the_first_is_lost(
    release: Release, beside: Container, report: Report
) -> None:
    cluster = release.cluster
    here = cluster.get("pod", beside.pod, "-n", beside.namespace)["spec"]["nodeName"]
    names = [node.name for node in lifecycle.current()]
    (away, *_) = [name for name in names if name not in {names[0], here}]
    with cordoned(cluster, *(name for name in names if name != away)):
        cluster.kubectl("delete", "pod", "-n", NAMESPACE, "-l", KEEPER)
        eventually(lambda: keepers(cluster) == [away], 90, f"the keeper runs on {away}")
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        with faults.stopped_node(faults.node_named(away)):
            took = eventually(
                lambda: bool(keepers(cluster)) and away not in keepers(cluster), KEEPER_SECONDS, "another"
            )
        whole = event.wait_whole(240, at_least=took)
    told(report, f"the keeper's machine lost, another keeper after {took:.0f} s", event, whole)


def test_volumes_of_one_machine_are_full(release: Release, beside: Container, report: Report) -> None:
    with watched(beside, release.shape) as (watch, load):
        (pod, *_) = sorted(watch.lines[-1]["held"])
        places: dict[str, str] = watch.lines[-1]["places"]
        event = Event(watch, load)
        with faults.full_volumes(faults.node_named(places[pod])):
            time.sleep(30)
        whole = event.wait_whole(180)
        time.sleep(5)
        before = len(load.lines)
        eventually(
            lambda: any(line["done"] and not line["errors"] for line in load.lines[before:]), 60, "writes"
        )
    told(report, "volumes of one primary's machine full for half a minute", event, whole)
    assert event.lost() <= SECOND_OF_WRITES
    # What was cut short in their logs of writes does not keep the machine's nodes from starting again.
    with watched(beside, release.shape) as (watch, load):
        again = Event(watch, load)
        killed = [f"{NAME}-{number}" for number, place in places.items() if place == places[pod]]
        release.cluster.kubectl("delete", "pod", "-n", NAMESPACE, "--grace-period=0", "--force", *killed)
        whole = again.wait_whole(120, at_least=10)
    told(report, "the nodes of that machine killed afterwards", again, whole)


PING = """
import sys
from redis import Redis
from redis.exceptions import RedisError
host, *shown = sys.argv[1:]
tls = "/etc/lighthouse/redis-tls/"
options = {"ssl_ca_certs": tls + "ca.crt"}
if "certificate" in shown:
    options |= {"ssl_certfile": tls + "tls.crt", "ssl_keyfile": tls + "tls.key"}
if "password" in shown:
    options |= {"username": "bridge", "password": open("/etc/lighthouse/redis-users/bridge").readline().strip()}
try:
    print(Redis(host=host, ssl=True, socket_timeout=3, **options).ping())
except RedisError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("shown", "answer"),
    [
        (("certificate", "password"), "True"),
        (("certificate",), "AuthenticationError"),
        (("password",), "ConnectionError"),
        ((), "ConnectionError"),
    ],
)
def test_who_does_not_show_both_certificate_and_password_is_refused(
    shown: tuple[str, ...], answer: str, beside: Container
) -> None:
    said = beside.output(PYTHON, "-I", "-c", PING, f"{NAME}-0.{DOMAIN}", *shown)
    assert said.split()[0] == answer, said
