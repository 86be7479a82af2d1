"""What a steady load of appends sees when something breaks: how long it waits, and that nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE
from tests.live.support import eventually
from tests.production.postgres import faults
from tests.production.postgres.appends import Appends
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.production.postgres.database import Database
    from tests.production.postgres.s3 import ObjectStore

CONTROL_PLANE = "n1"
COLUMNS = ("Fault", "Writes stopped, s", "Another primary", "Healthy again after, s", "Acknowledged", "Lost")
REPORT = Report("postgres-faults", COLUMNS)


@pytest.fixture(name="primary")
def _primary(database: Database) -> str:
    """The primary's pod in a healthy database, on another node than the API server, which no fault is to stop."""
    for _ in range(3):
        eventually(database.healthy, 400, "the database is healthy")
        primary = database.primary()
        if database.node_of(primary) != CONTROL_PLANE:
            return primary
        faults.delete_pod(database, primary)
        replaced(database, primary)
    raise AssertionError("the primary stays on the node of the control plane")


@contextlib.contextmanager
def struck(database: Database, fault: str, load: Appends) -> Iterator[float]:
    """Requires that appends are acknowledged again after what the body does, that none is lost, and reports the times."""
    old, begin = database.primary(), time.monotonic()
    yield begin
    load.reach(100)
    outage = load.outage(begin)
    moved = "yes" if database.primary() != old else "no"
    load.stop()
    lost = load.lost()
    eventually(database.healthy, 600, "the database is healthy again")
    healthy = time.monotonic() - begin
    REPORT.row(
        fault, f"{outage.seconds:.1f}", moved, f"{healthy:.0f}", str(len(load.acknowledged)), str(len(lost))
    )
    assert lost == []


def replaced(database: Database, old: str, seconds: float = 300) -> None:
    """Wait for another primary."""
    eventually(
        lambda: database.status()["currentPrimary"] not in {old, "pending"}, seconds, f"a primary after {old}"
    )


@pytest.mark.proves(9, level="survives")
def test_the_primarys_pod_is_deleted(database: Database, primary: str) -> None:
    with Appends(database, "pod deleted") as load, struck(database, "pod of the primary deleted", load):
        faults.delete_pod(database, primary)
        replaced(database, primary)


def test_the_primarys_postmaster_is_killed(database: Database, primary: str) -> None:
    # The kubelet restarts the container, mostly before another instance could take over: either will do.
    with (
        Appends(database, "postmaster killed") as load,
        struck(database, "postmaster of the primary killed", load),
    ):
        faults.kill_postmaster(database, primary)


def test_the_primarys_network_is_cut(database: Database, primary: str) -> None:
    with (
        Appends(database, "network cut") as load,
        struck(database, "network of the primary cut", load),
        faults.isolated_pod(database, primary),
    ):
        replaced(database, primary)
        load.reach(50)


def test_the_primarys_node_stops(database: Database, primary: str) -> None:
    node = faults.node_named(database.node_of(primary))
    with (
        Appends(database, "node stopped") as load,
        struck(database, "node of the primary stopped", load),
        faults.stopped_node(node),
    ):
        replaced(database, primary)
        load.reach(50)


def test_the_primarys_volumes_are_full(database: Database, primary: str) -> None:
    node = faults.node_named(database.node_of(primary))
    with (
        Appends(database, "volume full") as load,
        struck(database, "volumes of the primary full for 30 s", load),
        faults.full_volumes(node),
    ):
        database.superuser("SELECT pg_switch_wal()", primary)
        time.sleep(30)


def test_the_object_store_is_away(database: Database, primary: str, object_store: ObjectStore) -> None:
    with Appends(database, "store away") as load, struck(database, "object store away for 60 s", load):
        failed = archiver(database, "failed_count")
        object_store.take_away()
        try:
            begin = time.monotonic()
            database.superuser("SELECT pg_switch_wal()", primary)
            eventually(lambda: archiver(database, "failed_count") > failed, 120, "archiving fails")
            time.sleep(max(0.0, 60 - (time.monotonic() - begin)))
        finally:
            object_store.give_back()
        archived = archiver(database, "archived_count")
        eventually(lambda: archiver(database, "archived_count") > archived, 300, "archiving goes on")
    assert load.outage(begin).seconds < 10


def archiver(database: Database, counter: str) -> int:
    """A counter of the primary's archiver."""
    counters: dict[str, int] = json.loads(
        database.superuser("SELECT row_to_json(pg_stat_archiver) FROM pg_stat_archiver")
    )
    return counters[counter]


def test_no_fault_left_an_instance_behind(database: Database) -> None:
    eventually(database.healthy, 400, "the database is healthy")
    for pod in database.cluster.get("pods", "-n", NAMESPACE, "-l", f"cnpg.io/cluster={database.name}")[
        "items"
    ]:
        name = pod["metadata"]["name"]
        assert database.superuser("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL", name)
