"""Events: stored in order, queried, streamed without gap."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from lighthouse_bridge.events import legacy_checksum
from tests.images.bridge.support import Agent, Bridge


@contextmanager
def stream(agent: Agent, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
    with httpx.stream(
        "GET", agent.bridge.url + "/events/stream", params=query, headers=agent.headers, timeout=10
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "application/x-ndjson"
        yield (json.loads(line) for line in answer.iter_lines())


def store(agent: Agent, data: dict[str, Any]) -> int:
    answer = agent.post(
        "/event/store", {"event_type": "custom", "data": data, "aggregate_id": agent.agent_id}
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["sequence"])


def read(lines: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        line = next(lines)
        if "event_type" in line:
            found.append(line)
    return found


def test_concurrent_writers_get_one_order(bridge: Bridge, expert: Agent) -> None:
    start = bridge.sequence()
    agents = [bridge.join("builder") for _ in range(6)]
    threads = [threading.Thread(target=lambda a=a: [store(a, {"n": n}) for n in range(15)]) for a in agents]
    with stream(expert, after=start, types="custom") as lines:
        for thread in threads:
            thread.start()
        seen = read(lines, 90)
        for thread in threads:
            thread.join()
    sequences = [line["sequence"] for line in seen]
    assert sequences == sorted(set(sequences))
    for agent in agents:
        assert [line["data"]["n"] for line in seen if line["agent_id"] == agent.agent_id] == list(range(15))


def test_an_event_is_on_the_stream_within_100_ms(builder: Agent, expert: Agent) -> None:
    delays = []
    with stream(expert, after=builder.bridge.sequence()) as lines:
        next(lines)
        for n in range(10):
            store(builder, {"n": n})
            acknowledged = time.monotonic()
            read(lines, 1)
            delays.append(time.monotonic() - acknowledged)
    assert sorted(delays)[5] < 0.1, delays


def test_silence_is_filled_with_heartbeats_that_tell_where_to_resume(builder: Agent, expert: Agent) -> None:
    start = builder.bridge.sequence()
    with stream(expert, after=start, types="custom") as lines:
        assert next(lines) == {"heartbeat": True, "sequence": start}
        changed = builder.update("heartbeat.txt", str(start)).json()["sequence"]
        beats = [next(lines) for _ in range(2)]
    assert all(line["heartbeat"] for line in beats)
    assert beats[-1]["sequence"] == changed


def test_a_file_event_describes_the_change(builder: Agent, expert: Agent) -> None:
    start = builder.bridge.sequence()
    builder.update("events/a.py", "one")
    builder.update("events/a.py", "two", executable=True)
    builder.update("events/a.py", None, "delete")
    with stream(expert, after=start, types="file_created,file_modified,file_deleted") as lines:
        created, modified, deleted = read(lines, 3)
    assert created["data"] == {
        "path": "events/a.py",
        "kind": "file",
        "executable": False,
        "size": 3,
        "content_hash": created["data"]["content_hash"],
        "previous_hash": None,
        "mime_type": "text/x-python",
        "encoding": "utf-8",
        "content": None,
    }
    assert modified["data"]["previous_hash"] == created["data"]["content_hash"]
    assert modified["data"]["executable"] is True
    assert deleted["data"]["previous_hash"] == modified["data"]["content_hash"]
    assert deleted["data"]["content_hash"] is None


def test_queries_filter_by_type_agent_and_time(builder: Agent, expert: Agent) -> None:
    first = store(builder, {"n": 1})
    store(builder, {"n": 2})
    mine = {"agent_id": builder.agent_id, "event_type": "custom"}
    found = expert.get("/event/query", params=mine).json()
    assert [event["data"]["n"] for event in found["events"]] == [1, 2]
    assert found["events"][0]["sequence"] == first
    moment = found["events"][1]["timestamp"]
    later = expert.get("/event/query", params={**mine, "start_time": moment}).json()["events"]
    assert [event["data"]["n"] for event in later] == [2]
    assert expert.get("/event/query", params={**mine, "limit": 1}).json()["events"][0]["data"]["n"] == 2


def test_rows_have_the_published_format(start_bridge: Callable[..., Bridge]) -> None:
    bridge = start_bridge()
    builder = bridge.join("builder")
    data = {"text": "it's", "none": None, "yes": True, "list": [1, 2.5], "nested": {"ü": "x"}}
    sequence = store(builder, data)
    with sqlite3.connect(f"file:{bridge.store}?mode=ro", uri=True) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
        indexes = {row[1] for row in connection.execute("PRAGMA index_list(events)")}
        row = connection.execute("SELECT * FROM events WHERE sequence_id = ?", (sequence,)).fetchone()
        version = connection.execute(
            "SELECT value FROM store_metadata WHERE key = 'schema_version'"
        ).fetchone()
    connection.close()
    assert columns == [
        "sequence_id", "event_id", "event_type", "timestamp", "agent_id", "aggregate_id", "aggregate_version",
        "event_data", "metadata", "checksum", "created_at", "row_hash",
    ]  # fmt: skip
    names = ("timestamp", "type", "agent", "aggregate", "type_timestamp", "agent_timestamp")
    assert {f"idx_events_{name}" for name in names} <= indexes
    assert version == ("1",)
    record = dict(zip(columns, row, strict=True))
    event = json.loads(record["event_data"])
    assert set(event) == {
        "event_id", "event_type", "agent_id", "data", "timestamp", "aggregate_id", "aggregate_version", "metadata",
    }  # fmt: skip
    assert event["data"] == data
    assert record["checksum"] == legacy_checksum(sequence, event["event_id"], "custom", event["data"])
    assert abs(record["timestamp"] / 1e6 - time.time()) < 60
