"""One write of the store: what it may do, how it is undone alone, and the group commit that it is part of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .events import EventRecord, Row, StreamLine, build_row, decode_record, line_of
from .problems import Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .chain import Head

# What is indexed must fit an index's page.
MAX_NAME_BYTES = 2_000

HEAD = (
    "SELECT sequence_id, (SELECT max(timestamp) FROM events), row_hash "
    "FROM events ORDER BY sequence_id DESC LIMIT 1"
)
INSERT = (
    "INSERT INTO events (sequence_id, event_id, event_type, timestamp, agent_id, aggregate_id, "
    "aggregate_version, event_data, metadata, checksum, created_at, row_hash) "
    "VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"
)


class Cursor(Protocol):
    """The result of a statement."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """Runs statements; `sqlite3.Connection` is one."""

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Cursor:
        """Run one statement."""

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement for each set of values."""


class Batch:
    """One group commit: what its writes appended so far, and where the store ends with it."""

    def __init__(self, connection: Connection, head: Head, now_us: int) -> None:
        self.connection = connection
        self.head = head
        self.now_us = now_us
        self.rows: list[Row] = []
        self.lines: list[StreamLine] = []

    def run(self, job: Job) -> None:
        """Run one write; its exception undoes it alone and is kept for whoever waits."""
        connection = _Undoable(self.connection)
        transaction = Transaction(connection, self)
        try:
            job.result = job.work(transaction)
        except job.passed_on:
            raise
        except Exception as error:
            connection.undo()
            job.error = error
            return
        connection.keep()
        job.error = None
        self.head = transaction.head
        self.rows += transaction.rows
        self.lines += transaction.lines


class Transaction:
    """What a write may do: run statements on `connection` and append events, all or nothing.

    Events reach the table when the commit does, so statements of the same transaction do not see them. A write
    may be run again when its connection broke: it must act through the transaction alone.
    """

    def __init__(self, connection: Connection, batch: Batch) -> None:
        self.connection = connection
        self.now_us = batch.now_us
        self.head = batch.head
        self.rows: list[Row] = []
        self.lines: list[StreamLine] = []
        self._batch = batch

    @property
    def sequence(self) -> int:
        """The sequence of the last event so far."""
        return self.head.sequence

    def append(
        self,
        event_type: str,
        agent_id: str | None,
        aggregate_id: str | None,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        event_id: str | None = None,
        expected_version: int | None = None,
    ) -> StreamLine:
        """Append one event; its sequence is one more than the last, and becomes its aggregate's version.

        An event that was stored with this `event_id` before is returned instead of stored again. Raises Problem
        409 when that one differs, or when the aggregate's version is not the one expected (0: it is new).
        """
        for name in (event_id, agent_id, aggregate_id):
            _check_name(name)
        if event_id is not None:
            record = self._find(event_id)
            if record is not None:
                return _repeated(record, event_type, agent_id, aggregate_id, data, metadata or {})
        if expected_version is not None:
            self._check_version(aggregate_id, expected_version)
        row, line, self.head = build_row(
            self.head, self.now_us, event_type, agent_id, aggregate_id, data, metadata or {}, event_id
        )
        self.rows.append(row)
        self.lines.append(line)
        correlation = (metadata or {}).get("correlation_id")
        if isinstance(correlation, str) and correlation:
            _check_name(correlation)
            self.connection.execute(
                "INSERT INTO event_correlations (correlation_id, sequence_id) VALUES (?,?)",
                (correlation, line.sequence),
            )
        return line

    def _uncommitted(self) -> Iterator[Row]:
        yield from reversed(self.rows)
        yield from reversed(self._batch.rows)

    def _find(self, event_id: str) -> tuple[int, EventRecord] | None:
        for row in self._uncommitted():
            if row[1] == event_id:
                return row[0], decode_record(row[7])
        stored = self.connection.execute(
            "SELECT sequence_id, event_data FROM events WHERE event_id = ?", (event_id,)
        ).fetchone()
        return None if stored is None else (stored[0], decode_record(stored[1]))

    def _check_version(self, aggregate_id: str | None, expected: int) -> None:
        version = next((row[6] for row in self._uncommitted() if row[5] == aggregate_id), None)
        if version is None:
            (version,) = self.connection.execute(
                "SELECT coalesce(max(aggregate_version), 0) FROM events WHERE aggregate_id = ?",
                (aggregate_id,),
            ).fetchone()
        if version != expected:
            raise Problem(
                409,
                f"The aggregate {aggregate_id!r} is at version {version}, not {expected}; read it again.",
            )


class Job:
    """A write that waits for its commit."""

    __slots__ = ("error", "future", "loop", "passed_on", "result", "work")

    def __init__(
        self,
        work: Callable[[Transaction], Any],
        loop: asyncio.AbstractEventLoop,
        passed_on: tuple[type[Exception], ...],
    ) -> None:
        self.work = work
        self.loop = loop
        self.passed_on = passed_on
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        """Tell whoever waits; runs in the event loop."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class _Undoable:
    """The connection as one write sees it: what it changes can be undone alone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._changed = False

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Cursor:
        self._guard(sql)
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        self._guard(sql)
        return self._connection.executemany(sql, parameters)

    def keep(self) -> None:
        if self._changed:
            self._connection.execute("RELEASE SAVEPOINT job")

    def undo(self) -> None:
        if self._changed:
            self._connection.execute("ROLLBACK TO SAVEPOINT job")
            self._connection.execute("RELEASE SAVEPOINT job")

    def _guard(self, sql: str) -> None:
        # Most writes only append events, which needs no savepoint.
        if not self._changed and not sql.startswith("SELECT"):
            self._connection.execute("SAVEPOINT job")
            self._changed = True


def _check_name(name: str | None) -> None:
    if name is not None and ("\0" in name or len(name.encode()) > MAX_NAME_BYTES):
        raise Problem(
            400,
            f"{name[:80]!r} cannot name an event, agent or aggregate: names have no NUL and at most "
            f"{MAX_NAME_BYTES} bytes.",
        )


def _repeated(
    stored: tuple[int, EventRecord],
    event_type: str,
    agent_id: str | None,
    aggregate_id: str | None,
    data: dict[str, Any],
    metadata: dict[str, Any],
) -> StreamLine:
    sequence, record = stored
    said = (record.event_type, record.agent_id, record.aggregate_id)
    same = said == (event_type, agent_id, aggregate_id) and (
        (msgspec.json.decode(record.data), msgspec.json.decode(record.metadata)) == (data, metadata)
    )
    if not same:
        raise Problem(409, f"Another event is stored as {record.event_id!r}; give this one an id of its own.")
    return line_of(sequence, record)
