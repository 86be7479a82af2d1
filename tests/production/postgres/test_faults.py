"""What a steady load of appends sees when something breaks: how long it waits, and that nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING

import pytest

from ci.console import Failure
from ci.settings import NAMESPACE
from tests.live.support import eventually
from tests.production.postgres import faults
from tests.production.postgres.appends import Appends
from tests.production.postgres.diagnosis import wait_healthy
from tests.production.postgres.limits import LIMITS
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.production.postgres.database import Database
    from tests.production.postgres.s3 import ObjectStore

CONTROL_PLANE = "n1"
FULL_SECONDS = 30
COLUMNS = (
    "Fault",
    "Writes stopped, s",
    "at most, s",
    "Another primary",
    "Healthy again after, s",
    "Acknowledged",
    "Lost",
)
REPORT = Report("postgres-faults", COLUMNS)


@pytest.fixture(name="primary")
def _primary(database: Database) -> str:
    """The primary's pod in a healthy database, on another node than the API server, which no fault is to stop."""
    for _ in range(3):
        wait_healthy(database, 400)
        primary = database.primary()
        if database.node_of(primary) != CONTROL_PLANE:
            return primary
        faults.delete_pod(database, primary)
        replaced(database, primary)
    raise AssertionError("the primary stays on the node of the control plane")


@contextlib.contextmanager
def struck(database: Database, fault: str, load: Appends) -> Iterator[float]:
    """Requires that appends are acknowledged again within the fault's limit after what the body does, by another
    primary where that is due, and that none is lost; reports the times."""
    limit = LIMITS[fault]
    old, begin = database.primary(), time.monotonic()
    yield begin
    load.reach(100)
    outage = load.outage(begin)
    moved = database.primary() != old
    load.stop()
    lost = load.lost()
    wait_healthy(database, 600)
    healthy = time.monotonic() - begin
    REPORT.row(
        fault,
        f"{outage.seconds:.1f}",
        f"{limit.seconds:.0f}",
        "yes" if moved else "no",
        f"{healthy:.0f}",
        str(len(load.acknowledged)),
        str(len(lost)),
    )
    assert lost == []
    assert moved or not limit.moves, f"{old} is the primary still"
    assert outage.seconds <= limit.seconds, (
        f"{fault}: writes stopped for {outage.seconds:.1f} s, more than {limit.seconds:.0f} s: {limit.why}"
    )


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
        struck(database, f"volumes of the primary full for {FULL_SECONDS} s", load),
        faults.full_volumes(node),
    ):
        begin, errors = time.monotonic(), len(load.errors)
        eventually(lambda: feels(database, primary, load, errors), 90, "the full volumes are felt")
        time.sleep(max(0.0, begin + FULL_SECONDS - time.monotonic()))


def feels(database: Database, primary: str, load: Appends, errors: int) -> bool:
    """Whether an append failed since there were so many errors; asks for the next file of WAL, which needs room."""
    with contextlib.suppress(Failure):
        database.superuser("SELECT pg_switch_wal()", primary)
    return len(load.errors) > errors


def test_the_object_store_is_away(database: Database, primary: str, object_store: ObjectStore) -> None:
    with Appends(database, "store away") as load, struck(database, "object store away for 60 s", load):
        failed = archiver(database, "failed_count")
        object_store.take_away()
        try:
            begin = time.monotonic()
            database.superuser("SELECT pg_switch_wal()", primary)
            # An attempt to reach the store's pod as it went away waits a minute for an answer, and may be repeated.
            eventually(lambda: archiver(database, "failed_count") > failed, 240, "archiving fails")
            time.sleep(max(0.0, 60 - (time.monotonic() - begin)))
        finally:
            object_store.give_back()
        archived = archiver(database, "archived_count")
        eventually(lambda: archiver(database, "archived_count") > archived, 300, "archiving goes on")


def archiver(database: Database, counter: str) -> int:
    """A counter of the primary's archiver."""
    counters: dict[str, int] = json.loads(
        database.superuser("SELECT row_to_json(pg_stat_archiver) FROM pg_stat_archiver")
    )
    return counters[counter]


def test_no_fault_left_an_instance_behind(database: Database) -> None:
    wait_healthy(database, 400)
    for pod in database.cluster.get("pods", "-n", NAMESPACE, "-l", f"cnpg.io/cluster={database.name}")[
        "items"
    ]:
        name = pod["metadata"]["name"]
        assert database.superuser("SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL", name)
