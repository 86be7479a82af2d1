"""Whatever is done to stored events behind the bridge's back is found; older stores are taken over whole."""

# ruff: noqa: S608 - statements are made of the test's own words
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.images.bridge.postgres import Postgres
from tests.images.bridge.support import Agent, Bridge

FIRST_RELEASE = Path(__file__).with_name("first_release.sql")
COLUMNS = (
    "sequence_id", "event_id", "event_type", "timestamp", "agent_id", "aggregate_id", "aggregate_version",
    "event_data", "metadata", "checksum", "created_at",
)  # fmt: skip

Run = Callable[[str], object]


def fill(own: Bridge, count: int) -> None:
    builder = own.join("builder")
    events = [{"event_type": "custom", "aggregate_id": "a", "data": {"n": n}} for n in range(count)]
    assert builder.post("/events/batch", {"events": events}).status_code == 200


def verify(agent: Agent, page: int = 7) -> tuple[list[str], list[Any], int]:
    """Problems, gaps and the last sequence of a whole walk."""
    problems: list[str] = []
    gaps: list[Any] = []
    at: dict[str, Any] = {"limit": page}
    while True:
        answer = agent.get("/events/verify", params=at)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        problems += found["problems"]
        gaps += found["gaps"]
        if not found["more"]:
            return problems, gaps, found["sequence"]
        at = {"limit": page, "after": found["sequence"], "hash": found["hash"]}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.heavy)])
def tampered(
    request: pytest.FixtureRequest, start_bridge: Callable[..., Bridge]
) -> Iterator[tuple[Bridge, Run]]:
    """A bridge with some events, and a way to its store that avoids it."""
    if request.param == "sqlite":
        own = start_bridge()
        fill(own, 40)

        def run(sql: str) -> object:
            with closing(sqlite3.connect(own.store, timeout=5)) as connection, connection:
                return connection.execute(sql)

        yield own, run
        return
    server: Postgres = request.getfixturevalue("postgres").create_database()
    own = start_bridge(postgres=server)
    fill(own, 40)
    with server.connect() as connection:
        yield own, lambda sql: connection.execute(sql.encode())


# The builder's session, its events and the operator's session.
LAST = 42
SWAP = (
    "UPDATE events SET sequence_id = -1 WHERE sequence_id = 20; "
    "UPDATE events SET sequence_id = 20 WHERE sequence_id = 21; "
    "UPDATE events SET sequence_id = 21 WHERE sequence_id = -1"
)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "at"),
    [
        *((f"UPDATE events SET {name} = {name} || 'x' WHERE sequence_id = 20", 20)
          for name in ("event_id", "event_type", "agent_id", "aggregate_id", "metadata", "checksum")),
        ("UPDATE events SET event_data = replace(event_data, '\"n\":', '\"m\":') WHERE sequence_id = 20", 20),
        *((f"UPDATE events SET {name} = {name} + 1 WHERE sequence_id = 20", 20)
          for name in ("timestamp", "aggregate_version", "created_at")),
        ("UPDATE events SET agent_id = NULL WHERE sequence_id = 20", 20),
        ("UPDATE events SET row_hash = NULL WHERE sequence_id = 20", 20),
        ("UPDATE events SET row_hash = (SELECT row_hash FROM events WHERE sequence_id = 19) WHERE sequence_id = 20", 20),
        (f"UPDATE events SET agent_id = 'mallory' WHERE sequence_id = {LAST}", LAST),
        (f"UPDATE events SET row_hash = (SELECT row_hash FROM events WHERE sequence_id = 19) WHERE sequence_id = {LAST}",
         LAST),
        (f"DELETE FROM events WHERE sequence_id = {LAST}", LAST),
        ("DELETE FROM events WHERE sequence_id = 20", 21),
        ("DELETE FROM events WHERE sequence_id < 5", 5),
        (f"INSERT INTO events ({', '.join(COLUMNS)}, row_hash) SELECT sequence_id + 1000, event_id || 'x', "
         f"{', '.join(COLUMNS[2:])}, row_hash FROM events WHERE sequence_id = 20", 1020),
        (SWAP, 20),
    ],
)  # fmt: skip
def test_any_row_that_was_changed_removed_inserted_or_moved_is_named(
    tampered: tuple[Bridge, Run], change: str, at: int
) -> None:
    own, run = tampered
    operator = own.join("operator")
    assert (verify(operator)[0], own.sequence()) == ([], LAST)
    for statement in change.split("; "):
        run(statement)
    problems, _, _ = verify(operator)
    assert problems
    assert re.search(rf"\bevent {at}\b", problems[0]), problems


def test_a_tail_that_was_cut_off_is_found_while_the_bridge_runs(tampered: tuple[Bridge, Run]) -> None:
    own, run = tampered
    operator = own.join("operator")
    head = operator.get("/events/head").json()
    run(f"DELETE FROM events WHERE sequence_id > {head['sequence'] - 3}")
    problems, _, _ = verify(operator)
    assert len(problems) == 1
    assert f"event {head['sequence']}, " in problems[0]
    assert "cut off" in problems[0]
    assert operator.get("/events/head", params={"sequence": head["sequence"]}).status_code == 404


@pytest.mark.heavy
@pytest.mark.parametrize("left", [3, 0], ids=["shortened", "emptied"])
def test_a_tail_that_was_cut_off_is_found_after_a_restart(tampered: tuple[Bridge, Run], left: int) -> None:
    own, run = tampered
    operator = own.join("operator")
    last = operator.get("/events/head").json()["sequence"]
    own.stop()
    run(f"DELETE FROM events WHERE sequence_id > {left}")
    own.start()
    problems, _, _ = verify(operator)
    assert len(problems) == 1
    assert f"event {last}, " in problems[0]
    assert "cut off" in problems[0]
    # Written anew beyond the old end, the chain is whole in itself.
    fill(own, 60)
    problems, _, _ = verify(operator)
    assert len(problems) == 1
    assert f"event {last} " in problems[0]
    own.stop()
    own.start()
    # The head that was kept is not overwritten by one that does not follow from it.
    assert verify(operator)[0] == problems


@pytest.mark.heavy
def test_a_head_that_another_key_signed_is_not_believed(tampered: tuple[Bridge, Run]) -> None:
    own, run = tampered
    operator = own.join("operator")
    own.stop()
    run(
        "UPDATE store_metadata SET value = '900:' || substr(value, instr(value, ':') + 1) WHERE key = 'signed_head'"
        if own.postgres is None
        else "UPDATE store_metadata SET value = regexp_replace(value, '^[0-9]+', '900') WHERE key = 'signed_head'"
    )
    own.start()
    assert verify(operator)[0] == []


@pytest.mark.heavy
def test_gaps_of_an_older_store_are_told_and_no_problem_until_something_is_put_there(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    old = tmp_path / "old" / "events.db"
    old.parent.mkdir()
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.executescript(FIRST_RELEASE.read_text())
        # The first release's sequences were those of SQLite, which leaves some out.
        connection.execute("DELETE FROM events WHERE sequence_id = 2")
    own = start_bridge(LIGHTHOUSE_EVENT_STORE_PATH=str(old))
    operator = own.join("operator")
    problems, gaps, last = verify(operator, page=2)
    assert (problems, gaps) == ([], [[2, 2]])
    stats = operator.get("/events/stats").json()
    assert (stats["missing_sequences"], stats["events"]) == (1, last - 1)
    names = ", ".join(COLUMNS[2:])
    with closing(sqlite3.connect(old, timeout=5)) as connection, connection:
        connection.execute(
            f"INSERT INTO events ({', '.join(COLUMNS)}, row_hash) SELECT 2, 'planted', {names}, row_hash "
            "FROM events WHERE sequence_id = 1"
        )
    problems, gaps, _ = verify(operator)
    assert gaps == []
    assert "event 2 " in problems[0]


def test_a_file_of_the_first_release_is_taken_over_whole(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    old = tmp_path / "old" / "events.db"
    old.parent.mkdir()
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(FIRST_RELEASE.read_text())
        columns = ", ".join(COLUMNS)
        rows = connection.execute(f"SELECT {columns} FROM events ORDER BY sequence_id").fetchall()
        files = connection.execute("SELECT path, content_hash FROM files ORDER BY path").fetchall()
    assert rows
    own = start_bridge(LIGHTHOUSE_EVENT_STORE_PATH=str(old))
    operator = own.join("operator")
    with closing(sqlite3.connect(f"file:{old}?mode=ro", uri=True)) as connection:
        kept = connection.execute(f"SELECT {columns} FROM events ORDER BY sequence_id").fetchall()
    assert kept[: len(rows)] == rows
    tree = operator.get("/shadow/tree").json()["files"]
    assert [(file[0], file[4]) for file in tree] == files
    assert verify(operator)[0] == []
    assert [e["data"]["text"] for e in operator.get("/events?correlation_id=c-1").json()["events"]] == [
        "it's"
    ]
    assert len(operator.get("/events?text=deep").json()["events"]) == 1
    assert own.join("builder").validate("npm publish")["approved"] is True


@pytest.mark.heavy
def test_a_newer_store_that_this_bridge_cannot_use_is_left_alone(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    own.stop()
    with closing(sqlite3.connect(own.store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE store_metadata SET value = '9999' WHERE key = 'oldest_schema'")
    own.start()
    refused = own.http.get("/ready")
    assert refused.status_code == 503
    assert "9999" in refused.json()["detail"]
    assert own.http.get("/health").status_code == 200


@pytest.mark.heavy
def test_three_bridges_that_start_at_once_make_one_schema(
    postgres: Postgres, start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    server = postgres.create_database()
    first = Bridge(tmp_path / "first", postgres=server)
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", "lighthouse_bridge", "migrate"], env=first.env, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for job in jobs:
        _, said = job.communicate(timeout=60)
        assert job.returncode == 0, said
    bridges = [start_bridge(postgres=server) for _ in range(3)]
    agents = [own.join("builder") for own in bridges]
    with server.connect() as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    for n, agent in enumerate(agents * 3):
        assert agent.post("/events", {"event_type": "custom", "data": {"n": n}}).status_code == 200
    for own in bridges:
        own.wait_for(lambda own=own: own.sequence() >= 12)
        seen = own.join("expert").get("/events", params={"types": "custom"}).json()["events"]
        assert [event["data"]["n"] for event in seen] == list(range(9))
    assert verify(bridges[0].join("operator"))[0] == []
