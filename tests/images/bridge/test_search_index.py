"""Full-text search over a store that nobody searched before: indexed beside the appending, which goes on."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.images.bridge.old_stores import fill_postgres, fill_sqlite
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # a large store

COUNT = 100_000


INDEXED = "SELECT value FROM store_metadata WHERE key = 'events_fts'"


@pytest.fixture(params=["sqlite", "postgres"])
def large(
    request: pytest.FixtureRequest, start_bridge: Callable[..., Bridge], tmp_path: Path
) -> Iterator[tuple[Bridge, Callable[[], Any]]]:
    """A bridge on a store of many events, none of them indexed; and a look at how far the index has come."""
    if request.param == "sqlite":
        path = tmp_path / "large" / "events.db"
        fill_sqlite(path, COUNT)
        own = start_bridge(LIGHTHOUSE_EVENT_STORE_PATH=str(path))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as reader:
            yield own, lambda: reader.execute(INDEXED).fetchone()
        return
    server = request.getfixturevalue("postgres").create_database()
    fill_postgres(server, COUNT)
    own = start_bridge(postgres=server)
    with server.connect() as connection:
        yield own, lambda: connection.execute(INDEXED).fetchone()


def found(agent: Agent, word: str) -> list[int]:
    answer = agent.get("/events", params={"text": word})
    assert answer.status_code == 200, answer.text
    return [event["data"]["n"] for event in answer.json()["events"]]


def test_a_large_store_is_indexed_without_anybody_searching_while_appends_go_on(
    large: tuple[Bridge, Callable[[], Any]],
) -> None:
    own, indexed = large
    builder = own.join("builder")
    slowest, appended = 0.0, 0
    deadline = time.monotonic() + 300
    while True:
        begin = time.monotonic()
        body = {"event_type": "custom", "data": {"n": COUNT + 1 + appended, "note": f"fresh{appended}"}}
        assert builder.post("/events", body).status_code == 200
        slowest, appended = max(slowest, time.monotonic() - begin), appended + 1
        row = indexed()
        if row is not None and int(row[0]) >= COUNT:
            break
        assert time.monotonic() < deadline, row
        time.sleep(0.1)
    begin = time.monotonic()
    answers = [
        found(builder, word) for word in ("word1", "word50000", f"word{COUNT}", f"fresh{appended - 1}")
    ]
    assert time.monotonic() - begin < 10
    assert answers == [[1], [50_000], [COUNT], [COUNT + appended]]
    assert appended > 5
    assert slowest < 5
