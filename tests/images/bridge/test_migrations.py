"""PostgreSQL stores are made and upgraded by whoever comes first, whole or not at all."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from lighthouse_bridge.chain import COLUMNS
from lighthouse_bridge.migrations import REVISION
from tests.images.bridge.old_stores import fill_postgres
from tests.images.bridge.postgres import Postgres
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # a real server, and processes on it

STORED = f"SELECT {', '.join(COLUMNS)} FROM events WHERE sequence_id <= %s ORDER BY sequence_id"  # noqa: S608 - constants


def problems(operator: Agent) -> list[str]:
    answer = operator.get("/events/verify", params={"limit": 50_000}).json()
    assert answer["more"] is False
    return list(answer["problems"])


def version(server: Postgres) -> str | None:
    with server.connect() as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])


def test_three_bridges_started_at_once_on_an_empty_database_all_serve(
    postgres: Postgres, tmp_path: Path
) -> None:
    server = postgres.create_database()
    bridges = [Bridge(tmp_path / f"bridge-{n}", postgres=server) for n in range(3)]
    with ExitStack() as stack:
        for own in bridges:
            stack.callback(own.http.close)
            own.launch()
            stack.callback(own.kill)
        for own in bridges:
            own.wait_for(lambda own=own: own.http.get("/ready").status_code == 200, 90)
        builders = [own.join("builder") for own in bridges]
        for n, builder in enumerate(builders * 2):
            assert builder.post("/events", {"event_type": "custom", "data": {"n": n}}).status_code == 200
        assert version(server) == REVISION
        for own in bridges:
            own.wait_for(lambda own=own: own.sequence() >= 9)
            operator = own.join("operator")
            events = operator.get("/events", params={"types": "custom"}).json()["events"]
            assert [event["data"]["n"] for event in events] == list(range(6))
            assert problems(operator) == []


def test_a_migration_killed_midway_leaves_the_old_store_and_the_next_one_succeeds(
    postgres: Postgres, tmp_path: Path
) -> None:
    count = 20_000
    server = postgres.create_database()
    fill_postgres(server, count, "0001")
    own = Bridge(tmp_path / "state", postgres=server)
    command = [sys.executable, "-m", "lighthouse_bridge", "migrate"]
    with server.connect() as connection:
        before = connection.execute(STORED, (count,)).fetchall()
        first = subprocess.Popen(command, env=own.env, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 90
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND query ILIKE 'UPDATE events SET row_hash%'"
        )
        while connection.execute(query.encode()).fetchone() == (0,):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=20)
        assert first.returncode == -signal.SIGKILL
        # Its transaction ends with it: nothing of it is there, and nobody has to unlock anything.
        second = subprocess.run(command, env=own.env, capture_output=True, timeout=180, check=False)
        assert second.returncode == 0, second.stderr
        assert version(server) == REVISION
        assert connection.execute(STORED, (count,)).fetchall() == before
        assert connection.execute("SELECT count(*) FROM events WHERE row_hash IS NULL").fetchone() == (0,)


@pytest.mark.parametrize("revision", ["0001", "0003", "0006"])
def test_a_filled_store_of_an_older_bridge_is_upgraded_by_the_first_that_starts(
    postgres: Postgres, start_bridge: Callable[..., Bridge], revision: str
) -> None:
    count = 500
    server = postgres.create_database()
    fill_postgres(server, count, revision)
    assert version(server) == revision
    with server.connect() as connection:
        before = connection.execute(STORED, (count,)).fetchall()
        assert len(before) == count
        own = start_bridge(postgres=server)
        own.wait_for(lambda: own.http.get("/ready").status_code == 200)
        assert version(server) == REVISION
        operator = own.join("operator")
        assert connection.execute(STORED, (count,)).fetchall() == before
    assert problems(operator) == []
    found = operator.get("/events", params={"text": "word321"}).json()["events"]
    assert [event["data"]["n"] for event in found] == [321]
    if revision < "0004":
        # Correlations are known since then; those of events that were there are made up for.
        found = operator.get("/events", params={"correlation_id": "c-3", "limit": 1000}).json()["events"]
        assert [event["data"]["n"] for event in found] == list(range(3, count + 1, 7))
    stored = own.join("builder").post("/events", {"event_type": "custom", "data": {}}).json()
    assert stored["sequence"] > count
