"""What the bridge needs of its store, whichever engine keeps it: transactions that append events, and reads.

One thread writes. It takes all writes that wait and commits them together, so that one wait for the disk pays for
many; a commit is durable before anybody is told. Statements are written once, in the SQL that both engines
understand, with `?` or `:name` for values.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from . import metrics
from .events import EventRecord, Row, StreamLine, build_row, decode_record, line_of
from .problems import Problem, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .chain import Head

T = TypeVar("T")
# What is indexed must fit an index's page.
MAX_NAME_BYTES = 2_000
BATCH_JOBS = 512
BATCH_ROWS = 5_000
QUEUE = 20_000
READERS = 4

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


class Database(ABC):
    """A store: `sqlite_database` and `postgres_database` are the engines.

    `on_commit` is called in the event loop with the events of every commit, each once and in order, before
    whoever wrote them is told; with several bridges on one store, also with the events of the others.
    `last_sequence` is the last of them. `generation` changes when the store was replaced by another.
    """

    # The engine's name, for the few statements that have no common form.
    DIALECT: str
    # Exceptions of the engine, which concern the whole commit and not one write alone.
    ERRORS: tuple[type[Exception], ...]

    def __init__(self, name: str, on_commit: Callable[[list[StreamLine]], None]) -> None:
        self.name = name
        self.last_sequence = 0
        self.generation = 0
        # Why the last commit failed, until one succeeds.
        self.trouble: str | None = None
        self._on_commit = on_commit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gathered: list[Job] = []
        self._order = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._local = threading.local()
        self._writer = threading.Thread(target=self._run, name="store-writer", daemon=True)

    async def start(self) -> None:
        """Open the store if it can be opened, and begin serving; an unusable one is tried again later."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._begin)
        self._writer.start()

    async def close(self) -> None:
        """Finish queued writes and close the store."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction shared with other writes; returns when it is durable.

        An exception of `work` undoes it alone. Raises StoreUnavailableError when nothing could be written.
        """
        if self._jobs.qsize() + len(self._gathered) >= QUEUE:
            raise StoreUnavailableError(f"{QUEUE} writes are waiting already; try again later")
        job = Job(work, asyncio.get_running_loop(), self.ERRORS)
        if not self._gathered:
            job.loop.call_soon(self._hand_over)
        self._gathered.append(job)
        result: T = await job.future
        return result

    def _hand_over(self) -> None:
        """Give the writer what one turn of the event loop brought: woken for the first of it, the writer would take
        the interpreter from the loop and commit that one alone."""
        jobs, self._gathered = self._gathered, []
        for job in jobs:
            self._jobs.put(job)

    async def read(
        self, work: Callable[[Connection], T], *, snapshot: bool = False, may_lag: bool = False
    ) -> T:
        """Run `work` on a reader connection in a thread; raises StoreUnavailableError when it cannot.

        With `snapshot` all its statements see one moment. With `may_lag` it may be asked of a standby, which
        can be a little behind what this bridge acknowledged.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work, snapshot, may_lag)

    async def probe(self) -> None:
        """Write and commit a row; raises StoreUnavailableError with the reason when that is impossible."""
        try:
            async with asyncio.timeout(1.0 if self.trouble else None):
                await self.write(_probe)
        except TimeoutError:
            raise StoreUnavailableError(self.trouble or f"{self.name} did not commit in time") from None

    @abstractmethod
    def _begin(self) -> None:
        """Open the store for the first time; an unusable one is logged."""

    @abstractmethod
    def _commit(self, jobs: list[Job]) -> None:
        """Commit the writes together and settle each, whatever happens."""

    @abstractmethod
    def _read(self, work: Callable[[Connection], T], snapshot: bool, may_lag: bool) -> T:
        """Run `work` on this thread's connection."""

    @abstractmethod
    def _shut(self) -> None:
        """Close what the writer thread opened."""

    def _run(self) -> None:
        ending = False
        while not ending:
            waiting = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(waiting) < BATCH_JOBS:
                    waiting.append(self._jobs.get_nowait())
            jobs = [job for job in waiting if job is not None]
            ending = len(jobs) < len(waiting)
            if jobs:
                self._commit(jobs)
        self._shut()

    def _succeeded(self, batch: Batch, jobs: list[Job], seconds: float) -> None:
        """Count a commit that is durable, hand on its events and settle its writes."""
        self.trouble = None
        metrics.store_ready.set(1)
        metrics.commit_seconds.observe(seconds)
        metrics.commit_jobs.observe(len(jobs))
        for event_type, count in Counter(row[2] for row in batch.rows).items():
            metrics.child(metrics.events_appended, event_type).inc(count)
        self._publish(batch.lines, jobs, batch.head.sequence)

    def _publish(self, lines: Iterable[StreamLine], jobs: list[Job], head: int) -> None:
        """Hand on the events that were not handed on yet, then settle the writes."""
        with self._order:
            fresh = [line for line in lines if line.sequence > self.last_sequence]
            self.last_sequence = max(head, self.last_sequence)
            metrics.last_sequence.set(self.last_sequence)

            def settle() -> None:
                if fresh:
                    self._on_commit(fresh)
                for job in jobs:
                    job.settle()

            # The loop is closed when the process gave up waiting for this commit: nobody is left to tell.
            with suppress(RuntimeError):
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(settle)


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


def _probe(transaction: Transaction) -> None:
    transaction.connection.execute(
        "INSERT INTO store_metadata (key, value, updated_at) VALUES ('probe', ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (str(transaction.now_us), transaction.now_us // 1_000_000),
    )
