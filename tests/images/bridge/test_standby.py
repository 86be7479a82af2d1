"""Queries that are asked of a streaming standby: a standby that lags, is away or is promoted hides no event."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.images.bridge.postgres import Postgres, postgres_server, standby_of
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # two real servers of the test's own

LAG_SECONDS = 5.0


@pytest.fixture
def primary() -> Iterator[Postgres]:
    """A primary with a database of its own."""
    with postgres_server() as server:
        yield server.create_database()


@pytest.fixture
def standby(primary: Postgres) -> Iterator[Postgres]:
    """A standby that streams from it."""
    with standby_of(primary) as server:
        yield server


@pytest.fixture
def own(primary: Postgres, standby: Postgres, start_bridge: Callable[..., Bridge]) -> Bridge:
    """A bridge that writes to whichever of the two can be written, and reads from the standby."""
    return start_bridge(
        postgres=primary,
        LIGHTHOUSE_DATABASE_HOST=f"{primary.host},{standby.host}",
        LIGHTHOUSE_DATABASE_READ_HOST=standby.host,
        LIGHTHOUSE_DATABASE_RETRY_SECONDS="30",
    )


def store(agent: Agent, n: int) -> int:
    answer = agent.post("/events", {"event_type": "custom", "data": {"n": n}})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["sequence"])


def found(agent: Agent, **query: Any) -> list[int]:
    answer = agent.get("/events", params={"types": "custom", **query})
    assert answer.status_code == 200, answer.text
    assert answer.json()["more"] is False
    return [event["sequence"] for event in answer.json()["events"]]


def queries_seen(server: Postgres) -> int:
    with server.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lighthouse-bridge'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def replay(server: Postgres, *, paused: bool) -> None:
    with server.connect() as connection:
        connection.execute(b"SELECT pg_wal_replay_pause()" if paused else b"SELECT pg_wal_replay_resume()")
        deadline = time.monotonic() + 10
        wanted = ("paused",) if paused else ("not paused",)
        while connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def catch_up(primary: Postgres, standby: Postgres) -> None:
    """Return once the standby has everything that is committed now."""
    with primary.connect() as connection:
        reached = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
    assert reached is not None
    deadline = time.monotonic() + 30
    with standby.connect() as connection:
        query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        while connection.execute(query, reached).fetchone() != (True,):
            assert time.monotonic() < deadline, (standby.folder / "log").read_text()[-2000:]
            time.sleep(0.02)


def test_queries_are_asked_of_the_standby_until_it_lags(
    own: Bridge, primary: Postgres, standby: Postgres
) -> None:
    builder = own.join("builder")
    first = store(builder, 1)
    catch_up(primary, standby)
    assert found(builder) == [first]
    assert builder.get("/events/stats").json()["types"]["custom"] == 1
    assert queries_seen(standby) > 0
    replay(standby, paused=True)
    second = store(builder, 2)
    # Who knows of nothing in particular may be told what the standby has, for some seconds.
    assert found(builder) == [first]
    time.sleep(LAG_SECONDS + 1)
    assert found(builder) == [first, second]
    assert builder.get("/events/stats").json()["types"]["custom"] == 2
    replay(standby, paused=False)
    third = store(builder, 3)
    catch_up(primary, standby)
    replay(standby, paused=True)
    fourth = store(builder, 4)
    # What is stale shows that the standby is asked again.
    assert (found(builder), fourth) == ([first, second, third], third + 1)


def test_a_lagging_standby_hides_no_event_that_the_caller_knows_of(
    own: Bridge, primary: Postgres, standby: Postgres
) -> None:
    builder = own.join("builder")
    sequences = [store(builder, n) for n in range(5)]
    catch_up(primary, standby)
    assert found(builder, until=sequences[-1]) == sequences
    replay(standby, paused=True)
    sequences += [store(builder, n) for n in range(5, 10)]
    head = builder.get("/events/head").json()["sequence"]
    assert head == sequences[-1]
    assert found(builder, until=head) == sequences
    # One event alone, as a tail asks for it after the stream told of it.
    assert found(builder, after=head - 1, until=head) == [head]
    assert found(builder, after=sequences[7]) == sequences[8:]
    # A bound that is far beyond the end asks for everything there is.
    assert found(builder, until=head + 1_000_000) == sequences


def test_a_standby_that_is_away_costs_nobody_an_answer(
    own: Bridge, primary: Postgres, standby: Postgres
) -> None:
    builder = own.join("builder")
    sequences = [store(builder, 1)]
    catch_up(primary, standby)
    assert found(builder) == sequences
    standby.stop()
    sequences.append(store(builder, 2))
    started = time.monotonic()
    assert found(builder) == sequences
    assert time.monotonic() - started < 5
    assert builder.get("/events/stats").json()["types"]["custom"] == 2
    standby.start()
    catch_up(primary, standby)

    def asked() -> bool:
        assert found(builder) == sequences
        return queries_seen(standby) > 0

    own.wait_for(asked, 20)


def test_a_promoted_standby_is_read_and_written(own: Bridge, primary: Postgres, standby: Postgres) -> None:
    builder = own.join("builder")
    sequences = [store(builder, n) for n in range(3)]
    catch_up(primary, standby)
    primary.stop()
    with standby.connect() as connection:
        connection.execute("SELECT pg_promote()")
    sequences.append(store(builder, 3))
    assert found(builder) == sequences
    assert found(builder, until=sequences[-1]) == sequences
