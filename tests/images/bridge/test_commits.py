"""Commits to PostgreSQL by several writers: each on the end of the one before, and none after it was given up."""

from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy

import pytest

from lighthouse_bridge.chain import GENESIS, row_hash
from lighthouse_bridge.events import EventType, build_row
from lighthouse_bridge.postgres_commits import MovedError, Sent, Writer
from lighthouse_bridge.postgres_connection import Opened, connect, upgrade
from lighthouse_bridge.transactions import Batch
from tests.images.bridge.postgres import Postgres

pytestmark = pytest.mark.heavy  # a real server


@pytest.fixture
def store(postgres: Postgres) -> Postgres:
    return postgres.create_database()


@pytest.fixture
def opened(store: Postgres) -> Iterator[list[Opened]]:
    """Two connections to a new store."""
    settings = store.client_settings()
    with ExitStack() as stack:
        made = [connect(settings) for _ in range(2)]
        for each in made:
            stack.enter_context(each.raw)
        upgrade(settings, made[0].raw, "the store")
        yield made


def add(batch: Batch, count: int = 1) -> Sent:
    """A commit of so many events."""
    for n in range(count):
        row, line, batch.head = build_row(
            batch.head, batch.now_us, EventType.CUSTOM, "agent", None, {"n": n}, {}
        )
        batch.rows.append(row)
        batch.lines.append(line)
    return Sent(batch, [])


def stored(store: Postgres) -> list[int]:
    """The sequences that are stored; their chain must hold."""
    with store.connect() as connection:
        rows = connection.execute("SELECT * FROM events ORDER BY sequence_id").fetchall()
    last = GENESIS
    for *columns, digest in rows:
        last = row_hash(last, tuple(columns))
        assert bytes(digest) == last
    return [row[0] for row in rows]


def test_a_writer_that_is_alone_needs_no_lock_before_its_statement(
    store: Postgres, opened: list[Opened]
) -> None:
    writer = Writer("the store")
    locked = []
    for handed_on in (0, 2, 4):
        commit = writer.begin(opened[0], handed_on)
        locked.append(commit.locked)
        commit.send(add(commit.batch(), 2))
    assert locked == [True, False, False]
    assert stored(store) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("statement_first", [False, True])
def test_a_commit_built_on_another_end_than_there_is_does_nothing(
    store: Postgres, opened: list[Opened], statement_first: bool
) -> None:
    first, second = Writer("the store"), Writer("the store")
    begun = first.begin(opened[0], 0)
    begun.send(add(begun.batch()))
    built = first.begin(opened[0], 1)
    sent = add(built.batch())
    other = second.begin(opened[1], 1)
    other.send(add(other.batch()))
    with pytest.raises(MovedError):
        built.execute("SELECT 1") if statement_first else built.send(sent)
    assert stored(store) == [1, 2]
    again = first.begin(opened[0], 2)
    assert again.locked
    again.send(add(again.batch()))
    assert stored(store) == [1, 2, 3]


def test_whether_a_commit_was_made_is_known_afterwards_and_if_not_it_never_is(
    store: Postgres, opened: list[Opened]
) -> None:
    writer = Writer("the store")
    begun = writer.begin(opened[0], 0)
    begun.send(add(begun.batch()))
    made = writer.begin(opened[0], 1)
    answered = add(made.batch())
    made.send(answered)
    assert writer.was_made(opened[1].raw, answered)
    under_way = writer.begin(opened[0], 2)
    assert not under_way.locked
    sent = add(under_way.batch())
    # As it was when the statement left.
    then = copy(writer)
    assert not writer.was_made(opened[1].raw, sent)
    with pytest.raises(MovedError):
        then.append(opened[0].raw, under_way.end, sent)
    assert stored(store) == [1, 2]
