"""`lighthouse events` against a real bridge, and against a store that was changed behind its back."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import urllib3

from tests.images.agent.commands import LIGHTHOUSE, assert_failed, lighthouse
from tests.images.agent.support import Bridge, get, process, wait_for

pytestmark = pytest.mark.heavy  # starts dozens of processes


@pytest.fixture
def person(env: dict[str, str], stopped_bridge: Bridge) -> Iterator[dict[str, str]]:
    """An operator's environment, for a bridge of the test's own."""
    with stopped_bridge.running():
        found = {
            **env,
            "LIGHTHOUSE_BRIDGE_URL": stopped_bridge.url,
            "LIGHTHOUSE_KEY_FILE": str(stopped_bridge.key_file("operator")),
            "LIGHTHOUSE_AGENT_ID": "olga",
        }
        for number in range(5):
            lighthouse(found, "validate", f"ls file-{number}")
        yield found


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_found_followed_counted_and_exported(person: dict[str, str], tmp_path: Path) -> None:
    kind = "validation_decision_made"
    shown = lighthouse(person, "events", "query", "--type", kind)
    assert (shown.code, shown.out.count(kind)) == (0, 5)
    found = json.loads(lighthouse(person, "events", "query", "--text", "file-3", "--json").out)
    assert [e["event_type"] for e in found["events"]] == ["validation_request_submitted"]
    latest = json.loads(lighthouse(person, "events", "query", "--latest", "--limit", "1", "--json").out)
    last = latest["events"][0]["sequence"]
    tail = lighthouse(person, "events", "tail", "--after", "0", "--once", "--agent", "olga")
    sequences = [event["sequence"] for event in rows(tail.out)]
    assert sequences == list(range(1, last + 1))
    stats = json.loads(lighthouse(person, "events", "stats", "--json").out)
    assert (stats["events"], stats["types"][kind]) == (last, 5)
    target = tmp_path / "events.jsonl"
    done = lighthouse(person, "events", "export", str(target), "--until", str(last))
    assert done.code == 0, done
    assert [event["sequence"] for event in rows(target.read_text())] == sequences
    assert_failed(lighthouse(person, "events", "export", str(target)), "exists")


def test_a_tail_follows_the_stream_and_goes_on_where_it_was_when_the_bridge_is_back(
    env: dict[str, str], stopped_bridge: Bridge, tmp_path: Path
) -> None:
    person = {
        **env,
        "LIGHTHOUSE_BRIDGE_URL": stopped_bridge.url,
        "LIGHTHOUSE_KEY_FILE": str(stopped_bridge.key_file("operator")),
        "LIGHTHOUSE_AGENT_ID": "olga",
    }
    said = {"all": tmp_path / "all", "some": tmp_path / "some"}

    def validate(words: list[str]) -> None:
        for word in words:
            assert lighthouse(person, "validate", f"ls {word}").code == 0

    def seen(name: str) -> list[dict[str, Any]]:
        return rows(said[name].read_text().rpartition("\n")[0])

    def streams() -> bool:
        metrics = get(f"http://127.0.0.1:{stopped_bridge.metrics_port}/metrics")[1]
        return b"lighthouse_bridge_stream_subscribers 2.0" in metrics

    with ExitStack() as stack:
        with stopped_bridge.running():
            validate(["before"])
            for name, filters in (("all", ()), ("some", ("--text", "wanted"))):
                command = [*LIGHTHOUSE, "events", "tail", "--after", "0", *filters]
                stack.enter_context(process(command, person, said[name]))
            wait_for("two streams", streams)
            validate(["wanted-1", "other-1"])
        with stopped_bridge.running():
            wait_for("two streams again", streams)
            validate(["wanted-2", "other-2"])
            head = stopped_bridge.ask("/events/head")["sequence"]
            wait_for("the last event", lambda: seen("all")[-1]["sequence"] >= head)
            stored = stopped_bridge.ask("/events?text=wanted")["events"]
            wait_for("what was wanted", lambda: len(seen("some")) >= len(stored))
        everything = [event["sequence"] for event in seen("all")]
        assert everything == list(range(1, everything[-1] + 1))
        assert seen("some") == stored
        assert len(stored) >= 2


STRANGE: list[dict[str, Any]] = [
    {"note": "Zürich, 東京, 🗼"},
    {"note": ""},
    {},
    {"note": None, "deep": {"list": [1, 2.5, True, None, "ü"]}},
    {"note": 'quotes " and \\ and \n lines'},
]


def test_parquet_holds_what_the_json_lines_hold(
    person: dict[str, str], stopped_bridge: Bridge, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(stopped_bridge.folder / "events.db", timeout=5)) as connection, connection:
        # Stores of earlier programs hold events of nobody.
        connection.execute(
            "UPDATE events SET agent_id = NULL, event_data = json_set(event_data, '$.agent_id', json('null')) "
            "WHERE sequence_id = 1"
        )
    headers = {"Authorization": f"Bearer {stopped_bridge.session('builder', 'writer')}"}
    # More than two pages of the bridge.
    events = [
        {"event_type": "custom", "aggregate_id": aggregate, "data": {**STRANGE[n % len(STRANGE)], "n": n}}
        for n, aggregate in ((n, ("", "ü/東", None)[n % 3]) for n in range(10_100))
    ]
    with urllib3.PoolManager(timeout=60) as pool:
        for start in range(0, len(events), 1000):
            body = {"events": events[start : start + 1000]}
            stored = pool.request("POST", stopped_bridge.url + "/events/batch", json=body, headers=headers)
            assert stored.status == 200, stored.data
    head = str(stopped_bridge.ask("/events/head")["sequence"])
    lines, table = tmp_path / "events.jsonl", tmp_path / "events.parquet"
    for target in (lines, table):
        done = lighthouse(person, "events", "export", str(target), "--until", head)
        assert done.code == 0, done
    expected = rows(lines.read_text())
    assert len(expected) > 2 * 5_000
    file = pyarrow.parquet.ParquetFile(table)
    assert file.num_row_groups == len(expected) // 5_000 + 1
    assert [str(field.type) for field in file.schema_arrow] == [
        "int64", "string", "string", "timestamp[us, tz=UTC]", "string", "string", "string",
    ]  # fmt: skip
    found = file.read().to_pylist()
    assert [{**row, "data": json.loads(row["data"]), "timestamp": None} for row in found] == [
        {**event, "timestamp": None} for event in expected
    ]
    assert [row["timestamp"] for row in found] == [
        datetime.fromisoformat(event["timestamp"]) for event in expected
    ]
    assert {row["agent_id"] for row in found} >= {None, "writer", "olga"}
    assert {row["aggregate_id"] for row in found} >= {None, "", "ü/東"}


def test_parquet_of_no_event_is_an_empty_table(person: dict[str, str], tmp_path: Path) -> None:
    table = tmp_path / "none.parquet"
    done = lighthouse(person, "events", "export", str(table), "--type", "backup_created")
    assert (done.code, done.out.startswith("0 events")) == (0, True), done
    empty = pyarrow.parquet.read_table(table)
    assert (empty.num_rows, empty.column_names[0]) == (0, "sequence")


def test_parquet_without_its_package_is_one_sentence(person: dict[str, str], tmp_path: Path) -> None:
    done = lighthouse(
        {**person, "PYTHONPATH": _without_pyarrow(tmp_path, person)}, "events", "export", "x.parquet"
    )
    assert_failed(done, "pyarrow", "pip install")
    assert not Path("x.parquet").exists()


def _without_pyarrow(folder: Path, env: dict[str, str]) -> str:
    (folder / "hidden" / "pyarrow").mkdir(parents=True)
    (folder / "hidden" / "pyarrow" / "__init__.py").write_text("raise ImportError\n")
    return f"{folder / 'hidden'}:{env.get('PYTHONPATH', '')}"


def test_verify_tells_a_whole_store_from_a_changed_one(
    person: dict[str, str], stopped_bridge: Bridge, tmp_path: Path
) -> None:
    anchor = tmp_path / "head.json"
    whole = lighthouse(person, "events", "verify", "--save-anchor", str(anchor))
    assert (whole.code, "chain is whole" in whole.out) == (0, True)
    assert lighthouse(person, "events", "verify", "--anchor", str(anchor)).code == 0
    head = json.loads(anchor.read_text())["sequence"]
    with closing(sqlite3.connect(stopped_bridge.folder / "events.db", timeout=5)) as connection, connection:
        connection.execute("DELETE FROM events WHERE sequence_id >= ?", (head,))
    unaided = lighthouse(person, "events", "verify")
    assert (unaided.code, "the end was cut off" in unaided.out) == (2, True)
    cut = lighthouse(person, "events", "verify", "--anchor", str(anchor))
    assert (cut.code, "was cut off" in cut.out) == (2, True)
    with closing(sqlite3.connect(stopped_bridge.folder / "events.db", timeout=5)) as connection, connection:
        connection.execute("UPDATE events SET agent_id = 'mallory' WHERE sequence_id = 3")
    changed = lighthouse(person, "events", "verify")
    assert (changed.code, "BROKEN: event 3 " in changed.out) == (2, True), changed
