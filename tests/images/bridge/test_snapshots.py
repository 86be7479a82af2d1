"""Snapshots that the bridge takes by itself: when they are due, and how long they are kept."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from lighthouse_bridge.snapshots import EVERY_EVENTS, EVERY_US, KEPT, KEPT_US
from tests.images.bridge.support import Bridge

pytestmark = pytest.mark.heavy  # ten thousand events, on each engine

HOUR_US = 3600 * 1_000_000


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest, start_bridge: Callable[..., Bridge]) -> Bridge:
    """A bridge of the test's own, on each engine; it looks for what is due when it starts."""
    if request.param == "sqlite":
        return start_bridge()
    return start_bridge(postgres=request.getfixturevalue("postgres").create_database())


def snapshots(own: Bridge) -> dict[str, dict[str, Any]]:
    listed = own.join("operator").get("/snapshots").json()["snapshots"]
    return {one["name"]: one for one in listed}


def automatic(own: Bridge) -> set[str]:
    return {name for name, one in snapshots(own).items() if one["automatic"]}


def change(own: Bridge, statement: str) -> None:
    """Change the store while no bridge runs on it."""
    if own.postgres is not None:
        with own.postgres.connect() as connection:
            connection.execute(statement.encode())
        return
    with closing(sqlite3.connect(own.store)) as opened, opened:
        opened.execute(statement)


def restart(own: Bridge) -> None:
    own.kill()
    own.start()


def test_one_is_taken_after_so_many_events_and_no_other_before_as_many_more(own: Bridge) -> None:
    builder = own.join("builder")
    builder.update("kept/file", "content")
    restart(own)
    assert snapshots(own) == {}
    events = [{"event_type": "custom", "data": {}}] * 1000
    for _ in range(EVERY_EVENTS // 1000):
        assert builder.post("/events/batch", {"events": events}).status_code == 200
    before = own.sequence()
    restart(own)
    own.wait_for(lambda: automatic(own))
    (name,) = automatic(own)
    assert before <= snapshots(own)[name]["sequence"] <= own.sequence()
    builder.update("kept/file", "other")
    restored = own.join("operator").post("/restore", {"snapshot": name}).json()
    assert (restored["restored"], builder.get("/shadow/read/kept/file").text) == (1, "content")
    restart(own)
    time.sleep(1)
    assert automatic(own) == {name}


def test_old_ones_and_too_many_go_but_none_that_somebody_asked_for(own: Bridge) -> None:
    own.join("builder").update("kept/file", "content")
    assert own.join("operator").post("/snapshot/mine").status_code == 200
    own.kill()
    now = time.time_ns() // 1000
    row = "(SELECT body FROM snapshots WHERE name = 'mine')"
    change(
        own,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120) "  # noqa: S608 - made here
        "INSERT INTO snapshots (name, sequence, created_us, digest, automatic, body) "
        f"SELECT 'many-' || i, i - 1000, {now - EVERY_US - HOUR_US}, 'none', 1, {row} FROM n "
        f"UNION ALL SELECT 'old', 0, {now - KEPT_US - HOUR_US}, 'none', 1, {row}",
    )
    change(own, f"UPDATE snapshots SET created_us = {now - 2 * KEPT_US} WHERE name = 'mine'")  # noqa: S608 - as above
    own.start()
    own.wait_for(lambda: any(name.startswith("auto-") for name in automatic(own)))
    found = automatic(own)
    assert len(found) == KEPT - 1  # 'old' was among the latest
    assert {name for name in found if not name.startswith("auto-")} == {f"many-{n}" for n in range(23, 121)}
    assert "mine" in snapshots(own)
