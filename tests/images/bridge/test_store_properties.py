"""Whatever is done to a store in whatever order, it is what a plain list would be; and no tampering stays unseen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lighthouse_bridge.blobs import pack_blob
from lighthouse_bridge.chain import COLUMNS, Head
from lighthouse_bridge.clock import parse_iso
from lighthouse_bridge.event_queries import Filters, find_events, index_page
from lighthouse_bridge.kept_head import check_end, keep_head
from lighthouse_bridge.problems import Problem
from lighthouse_bridge.tree import Change, apply_change, read_file, read_tree, sequence_at
from lighthouse_bridge.verification import verify_page
from tests.images.bridge.fresh_stores import COUNT, PostgresStores, SqliteStores, Stores

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_bridge.events import StreamLine
    from lighthouse_bridge.transactions import Connection, Transaction

KEYS = (b"k" * 48,)
AGENTS = st.sampled_from(["ann", "bob"])
AGGREGATES = st.sampled_from(["x", "y", None])
TYPES = st.sampled_from(["custom", "file_created"])
WORDS = st.sampled_from(["alpha", "Beta", "ünder", "delta9"])
NOTES = st.lists(WORDS, max_size=3).map(" ".join)
PATHS = st.sampled_from(["a", "b/c", "b/d", "e.txt"])
CONTENTS = st.sampled_from([b"", b"one", b"two\n", "drei ü".encode()])


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.heavy)])
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stores:
    """Stores of each engine."""
    if request.param == "sqlite":
        return SqliteStores(tmp_path_factory.mktemp("stores"))
    return PostgresStores(request.getfixturevalue("postgres"))


@dataclass
class Event:
    """An event as the model knows it."""

    sequence: int
    event_id: str
    event_type: str
    time_us: int
    agent: str | None
    aggregate: str | None
    data: dict[str, Any]
    correlation: str | None = None
    words: set[str] = field(default_factory=set)


class Machine(RuleBasedStateMachine):
    """A store beside a list of events and a list of trees."""

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.open = stores.fresh()
        self.runner = asyncio.Runner()
        self.events: list[Event] = []
        # The tree after each event that changed it.
        self.trees: list[tuple[int, dict[str, bytes]]] = [(0, {})]
        self.heard: list[int] = []
        self.named = 0
        self.start()

    def start(self) -> None:
        self.database = self.open(lambda lines: self.heard.extend(line.sequence for line in lines))
        self.runner.run(self.database.start())

    def teardown(self) -> None:
        try:
            self.check_everything()
        finally:
            self.runner.run(self.database.close())
            self.runner.close()

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        return self.runner.run(self.database.write(work))

    def read(self, work: Callable[[Connection], Any], *, snapshot: bool = False) -> Any:
        return self.runner.run(self.database.read(work, snapshot=snapshot))

    def version(self, aggregate: str | None) -> int:
        return max((event.sequence for event in self.events if event.aggregate == aggregate), default=0)

    def learn(self, line: StreamLine, data: dict[str, Any], correlation: str | None = None) -> None:
        said = f"{line.event_type.replace('_', ' ')} {line.agent_id or ''} {line.aggregate_id or ''}"
        said += " ".join(f" {key} {value}" for key, value in data.items())
        self.events.append(
            Event(
                line.sequence,
                line.event_id,
                line.event_type,
                parse_iso(line.timestamp),
                line.agent_id,
                line.aggregate_id,
                data,
                correlation,
                set(said.lower().split()),
            )
        )

    @rule(
        kind=TYPES,
        agent=AGENTS,
        aggregate=AGGREGATES,
        note=NOTES,
        correlation=st.sampled_from([None, "c1", "c2"]),
    )
    def append(
        self, kind: str, agent: str, aggregate: str | None, note: str, correlation: str | None
    ) -> None:
        self.named += 1
        metadata = {} if correlation is None else {"correlation_id": correlation}
        data, name = {"note": note}, f"own-{self.named}"
        line = self.write(lambda t: t.append(kind, agent, aggregate, data, metadata, event_id=name))
        assert line.sequence == len(self.events) + 1
        self.learn(line, data, correlation)

    @rule(agent=AGENTS, aggregate=st.sampled_from(["x", "y"]), off=st.integers(0, 2))
    def append_at_a_version(self, agent: str, aggregate: str, off: int) -> None:
        expected = self.version(aggregate) + off

        def work(transaction: Transaction) -> StreamLine:
            return transaction.append("custom", agent, aggregate, {"off": off}, expected_version=expected)

        if off:
            with pytest.raises(Problem) as refused:
                self.write(work)
            assert refused.value.status == 409
        else:
            self.learn(self.write(work), {"off": off})

    @rule(agent=AGENTS, size=st.integers(1, 5), fails=st.booleans())
    def append_a_batch(self, agent: str, size: int, fails: bool) -> None:
        def work(transaction: Transaction) -> list[StreamLine]:
            lines = [transaction.append("custom", agent, "y", {"part": n}) for n in range(size)]
            if fails:
                # The version that was true before the batch.
                transaction.append("custom", agent, "y", {}, expected_version=self.version("y"))
            return lines

        if fails:
            with pytest.raises(Problem):
                self.write(work)
            return
        for n, line in enumerate(self.write(work)):
            self.learn(line, {"part": n})

    @precondition(lambda self: any(event.event_id.startswith("own-") for event in self.events))
    @rule(data=st.data(), differs=st.booleans())
    def repeat(self, data: st.DataObject, differs: bool) -> None:
        event = data.draw(st.sampled_from([e for e in self.events if e.event_id.startswith("own-")]))
        content = {"other": 1} if differs else event.data
        metadata = {} if event.correlation is None else {"correlation_id": event.correlation}

        def work(transaction: Transaction) -> StreamLine:
            return transaction.append(
                event.event_type, event.agent, event.aggregate, content, metadata, event_id=event.event_id
            )

        if differs:
            with pytest.raises(Problem) as refused:
                self.write(work)
            assert refused.value.status == 409
        else:
            assert self.write(work).sequence == event.sequence

    @rule(path=PATHS, content=CONTENTS)
    def put(self, path: str, content: bytes) -> None:
        blob = pack_blob(content)
        change = Change("update", path, "file", False, blob.hash, blob, None)
        self.change(change, {**self.trees[-1][1], path: content})

    @precondition(lambda self: self.trees[-1][1])
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.trees[-1][1])))
        change = Change("delete", path, "file", False, "", None, None)
        self.change(change, {name: text for name, text in self.trees[-1][1].items() if name != path})

    def change(self, change: Change, tree: dict[str, bytes]) -> None:
        applied = self.write(lambda t: apply_change(t, change, "ann", may_delete_critical=False))
        assert applied.changed == (tree != self.trees[-1][1])
        if applied.changed:
            (line,) = self.read(lambda c: self.find(c, Filters(after_sequence=applied.sequence - 1)))
            self.learn(line, {})
            # What such an event says is not the model's.
            self.events[-1].words = set()
            self.trees.append((applied.sequence, tree))

    def find(
        self, connection: Connection, filters: Filters, order: str = "sequence", *, descending: bool = False
    ) -> list[StreamLine]:
        return find_events(
            connection, filters, order, 1000, descending=descending, dialect=self.database.DIALECT
        ).events

    @rule(data=st.data(), order=st.sampled_from(["sequence", "timestamp"]), descending=st.booleans())
    def query(self, data: st.DataObject, order: str, descending: bool) -> None:
        places = st.none() | st.integers(0, len(self.events) + 1)
        times = st.none() | st.sampled_from([0, *(event.time_us for event in self.events)])
        filters = Filters(
            types=data.draw(st.lists(TYPES, max_size=2).map(tuple)),
            aggregates=data.draw(st.lists(st.sampled_from(["x", "y"]), max_size=2).map(tuple)),
            agents=data.draw(st.lists(AGENTS, max_size=1).map(tuple)),
            after_sequence=data.draw(places),
            until_sequence=data.draw(places),
            start_us=data.draw(times),
            end_us=data.draw(times),
            correlation=data.draw(st.none() | st.just("c1")),
        )
        expected = [
            event.sequence
            for event in self.events
            if (not filters.types or event.event_type in filters.types)
            and (not filters.aggregates or event.aggregate in filters.aggregates)
            and (not filters.agents or event.agent in filters.agents)
            and (filters.after_sequence is None or event.sequence > filters.after_sequence)
            and (filters.until_sequence is None or event.sequence <= filters.until_sequence)
            and (filters.start_us is None or event.time_us >= filters.start_us)
            and (filters.end_us is None or event.time_us <= filters.end_us)
            and (filters.correlation is None or event.correlation == filters.correlation)
        ]
        found = self.read(lambda c: self.find(c, filters, order, descending=descending))
        assert [line.sequence for line in found] == (expected[::-1] if descending else expected)

    @rule(words=st.lists(WORDS, min_size=1, max_size=2))
    def search(self, words: list[str]) -> None:
        while self.write(lambda t: index_page(t, self.database.DIALECT)):
            pass
        found = self.read(lambda c: self.find(c, Filters(text=" ".join(words))))
        wanted = {word.lower() for word in words}
        assert [line.sequence for line in found] == [e.sequence for e in self.events if wanted <= e.words]

    @rule(data=st.data(), by_time=st.booleans())
    def look_back(self, data: st.DataObject, by_time: bool) -> None:
        sequence = data.draw(st.integers(0, len(self.events)))
        if by_time and sequence:
            moment = self.events[sequence - 1].time_us
            # What one commit made has one time: all of it had happened then.
            sequence = max(event.sequence for event in self.events if event.time_us <= moment)
            assert self.read(lambda c: sequence_at(c, moment)) == sequence
        (tree,) = [tree for at, tree in self.trees if at <= sequence][-1:]
        _, entries = self.read(lambda c: read_tree(c, sequence, ""), snapshot=True)
        assert {entry[0] for entry in entries} == set(tree)
        for path, content in tree.items():
            found = self.read(partial(read_file, path=path, sequence=sequence))
            assert found is not None
            assert found[1] == content

    @rule()
    def restart(self) -> None:
        self.runner.run(self.database.close())
        self.start()

    @invariant()
    def heard_every_event_once_and_in_order(self) -> None:
        assert self.heard == [event.sequence for event in self.events]
        assert self.database.last_sequence == len(self.events)

    def check_everything(self) -> None:
        lines = self.read(lambda c: self.find(c, Filters()))
        assert [(line.sequence, line.event_id, line.agent_id, line.aggregate_id) for line in lines] == [
            (event.sequence, event.event_id, event.agent, event.aggregate) for event in self.events
        ]
        page = self.read(lambda c: verify_page(c, Head(), 10_000))
        assert (page.problems, page.gaps, page.count) == ([], [], len(self.events))
        assert self.write(lambda t: keep_head(t, KEYS)) == []
        assert self.read(lambda c: check_end(c, KEYS, len(self.events))) == []


def test_a_store_is_what_a_list_would_be(stores: Stores) -> None:
    class Bound(Machine):
        def __init__(self) -> None:
            super().__init__(stores)

    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=stores.examples,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


TEXTS = ("event_id", "event_type", "agent_id", "aggregate_id", "event_data", "metadata", "checksum")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_random_tampering_stays_unseen(stores: Stores, data: st.DataObject) -> None:
    with stores.tampering() as connection:
        before = all_rows(connection)
        assert problems(connection) == []
        for number in range(data.draw(st.integers(1, 3))):
            tamper(connection, data, number)
        assume(all_rows(connection) != before)
        assert problems(connection) != []


def all_rows(connection: Connection) -> list[Any]:
    return connection.execute("SELECT * FROM events ORDER BY sequence_id").fetchall()


def problems(connection: Connection) -> list[str]:
    # The bridge has told others of every event.
    return verify_page(connection, Head(), 10_000).problems + check_end(connection, KEYS, COUNT)


def tamper(connection: Connection, data: st.DataObject, number: int) -> None:
    # Names and places that are taken would be refused by the table itself.
    place = data.draw(st.integers(1, COUNT))
    other = data.draw(st.integers(1, COUNT))
    way = data.draw(st.sampled_from(["text", "number", "hash", "remove", "cut", "swap", "copy"]))
    if way == "text":
        name = data.draw(st.sampled_from(TEXTS))
        value = data.draw(st.sampled_from(["", "x", "custom", "{}"])) + (
            f"{place}-{number}" if name == "event_id" else ""
        )
        connection.execute(f"UPDATE events SET {name} = ? WHERE sequence_id = ?", (value, place))  # noqa: S608 - names of this test
    elif way == "number":
        name = data.draw(st.sampled_from(["timestamp", "aggregate_version", "created_at"]))
        by = data.draw(st.integers(-2, 2))
        connection.execute(f"UPDATE events SET {name} = {name} + ? WHERE sequence_id = ?", (by, place))  # noqa: S608 - as above
    elif way == "hash":
        query = "UPDATE events SET row_hash = (SELECT row_hash FROM events WHERE sequence_id = ?) WHERE sequence_id = ?"
        connection.execute(query, (other, place))
    elif way == "remove":
        connection.execute("DELETE FROM events WHERE sequence_id = ?", (place,))
    elif way == "cut":
        connection.execute("DELETE FROM events WHERE sequence_id >= ?", (place,))
    elif way == "swap":
        for old, new in ((place, -1), (other, place), (-1, other)):
            if place != other:
                connection.execute("UPDATE events SET sequence_id = ? WHERE sequence_id = ?", (new, old))
    else:
        names = ", ".join(COLUMNS[2:])
        connection.execute(
            f"INSERT INTO events (sequence_id, event_id, {names}, row_hash) "  # noqa: S608 - as above
            f"SELECT ?, ?, {names}, row_hash FROM events WHERE sequence_id = ?",
            (COUNT + (number + 1) * 1000 + data.draw(st.integers(0, 999)), f"copy-{number}", place),
        )
