"""The one module that opens the SQLite file: one writer thread with group commit, readers beside it.

`synchronous=FULL`: a commit is on disk before it is acknowledged, so it survives a killed process and a lost
node; sharing one commit between all waiting writes pays for it. No `mmap_size`: with memory mapping, a file
cut short under the process would kill it with SIGBUS instead of failing one read.
"""

from __future__ import annotations

import asyncio
import queue
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from . import metrics
from .clock import now_us
from .events import Row, StreamLine, build_row
from .logs import log
from .problems import StoreUnavailableError
from .schema import SCHEMA_VERSION, STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
_MAGIC = b"SQLite format 3\0"
_BATCH = 512
_QUEUE = 20_000
_INSERT = (
    "INSERT INTO events (sequence_id, event_id, event_type, timestamp, agent_id, aggregate_id, "
    "aggregate_version, event_data, metadata, checksum) VALUES (?,?,?,?,?,?,?,?,?,?)"
)


class Transaction:
    """What a write may do: run statements on `connection` and append events, all or nothing."""

    def __init__(
        self, connection: sqlite3.Connection, rows: list[Row], sequence: int, timestamp_us: int
    ) -> None:
        self._connection = connection
        # Appended by this and earlier writes of the commit, not yet in the table: most writes only append,
        # and the rows of all of them are inserted at once. `connection` ends that for this write.
        self._rows = rows
        self._first = len(rows)
        self._marked = False
        self.sequence = sequence
        self.now_us = timestamp_us
        self.lines: list[StreamLine] = []

    @property
    def connection(self) -> sqlite3.Connection:
        """The open transaction's connection; its tables hold everything that was appended so far."""
        if not self._marked:
            own = self._rows[self._first :]
            del self._rows[self._first :]
            insert_rows(self._connection, self._rows)
            self._connection.execute("SAVEPOINT job")
            insert_rows(self._connection, own)
            self._marked = True
            self._first = 0
        return self._connection

    def append(
        self,
        event_type: str,
        agent_id: str | None,
        aggregate_id: str | None,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> StreamLine:
        """Append one event; its sequence is one more than the last."""
        row, line = build_row(
            self.sequence + 1, self.now_us, event_type, agent_id, aggregate_id, data, metadata or {}
        )
        if self._marked:
            self._connection.execute(_INSERT, row)
        else:
            self._rows.append(row)
        self.sequence += 1
        self.lines.append(line)
        return line

    def keep(self) -> None:
        """End the write as part of the commit."""
        if self._marked:
            self._connection.execute("RELEASE job")

    def undo(self) -> None:
        """End the write as if it had never begun."""
        del self._rows[self._first :]
        if self._marked:
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")


def insert_rows(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Move rows of events into the table."""
    if rows:
        connection.executemany(_INSERT, rows)
        rows.clear()


class _Job:
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[Transaction], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: Exception | None = None

    def settle(self) -> None:
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Database:
    """The event store's file. `on_commit` is called in the event loop with the lines of each commit."""

    def __init__(
        self, path: Path, min_free_bytes: int, on_commit: Callable[[list[StreamLine]], None]
    ) -> None:
        self.path = path
        self.last_sequence = 0
        self.generation = 0
        self._min_free_bytes = min_free_bytes
        self._on_commit = on_commit
        self._jobs: queue.Queue[_Job | None] = queue.Queue(_QUEUE)
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._last_us = 0
        self._abandoned: list[sqlite3.Connection | None] = []
        self._readers = ThreadPoolExecutor(4, "store-reader")
        self._local = threading.local()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        """Open the file if it can be opened, and begin serving; an unusable file is retried later."""
        try:
            self._open()
        except (sqlite3.Error, OSError, StoreUnavailableError) as error:
            log.error("store unusable", path=str(self.path), reason=str(error))
        self._thread.start()

    async def close(self) -> None:
        """Finish queued writes, checkpoint the log into the file and close it."""
        await asyncio.to_thread(self._jobs.put, None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction shared with other writes; returns when it is durable.

        An exception of `work` undoes it alone. Raises StoreUnavailableError when nothing could be written.
        """
        job = _Job(work, asyncio.get_running_loop())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise StoreUnavailableError(f"{_QUEUE} writes are waiting already; try again later") from None
        result: T = await job.future
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reader connection in a thread; raises StoreUnavailableError when it cannot."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def probe(self) -> None:
        """Write and commit a row; raises StoreUnavailableError with the reason when that is impossible."""
        await self.write(_probe)
        free = await asyncio.to_thread(lambda: shutil.disk_usage(self.path.parent).free)
        if free < self._min_free_bytes:
            metrics.store_ready.set(0)
            raise StoreUnavailableError(
                f"the volume of {self.path} has {free} bytes free, fewer than {self._min_free_bytes}"
            )

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._identity is None:
            raise StoreUnavailableError(f"the event store {self.path} is not open")
        try:
            if getattr(self._local, "generation", -1) != self.generation:
                if connection := getattr(self._local, "connection", None):
                    connection.close()
                self._local.connection = self._connect()
                self._local.generation = self.generation
            return work(self._local.connection)
        except sqlite3.Error as error:
            metrics.store_failures.inc()
            self._local.generation = -1
            raise StoreUnavailableError(f"the event store {self.path} cannot be read: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=5, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=10000")
        connection.execute("PRAGMA temp_store=MEMORY")
        # Pages that many commits write again are copied into the file once; the log stays below its limit.
        connection.execute("PRAGMA wal_autocheckpoint=8000")
        connection.execute(f"PRAGMA journal_size_limit={64 * 1024 * 1024}")
        return connection

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for statement in STATEMENTS:
                connection.execute(statement)
            connection.execute("COMMIT")
            self._check_version(connection)
            query = "SELECT coalesce(max(sequence_id), 0), coalesce(max(timestamp), 0) FROM events"
            self.last_sequence, self._last_us = connection.execute(query).fetchone()
            status = self.path.stat()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._identity = (status.st_dev, status.st_ino)
        self.generation += 1
        metrics.store_ready.set(1)
        metrics.last_sequence.set(self.last_sequence)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        query = "SELECT value FROM store_metadata WHERE key = 'schema_version'"
        (version,) = connection.execute(query).fetchone()
        if version != SCHEMA_VERSION:
            raise StoreUnavailableError(
                f"the event store {self.path} has schema {version}, this bridge writes {SCHEMA_VERSION}"
            )

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            batch: list[_Job] = []
            while job is not None and len(batch) < _BATCH:
                batch.append(job)
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            else:
                if job is not None:
                    batch.append(job)
            if batch:
                self._commit(batch)
            if job is None:
                break
        self._shut()

    def _commit(self, batch: list[_Job]) -> None:
        started = time.perf_counter()
        lines: list[StreamLine] = []
        rows: list[Row] = []
        try:
            connection = self._usable_connection()
            connection.execute("BEGIN IMMEDIATE")
            sequence = self.last_sequence
            timestamp = max(now_us(), self._last_us)
            for job in batch:
                if job.future.cancelled():
                    continue
                transaction = Transaction(connection, rows, sequence, timestamp)
                try:
                    job.result = job.work(transaction)
                except sqlite3.Error:
                    raise
                except Exception as error:
                    transaction.undo()
                    job.error = error
                else:
                    transaction.keep()
                    sequence = transaction.sequence
                    lines += transaction.lines
            insert_rows(connection, rows)
            connection.execute("COMMIT")
        except Exception as error:
            # Whatever it was, this thread must go on: every write waits for it.
            self._fail(batch, error)
            return
        self.last_sequence = sequence
        self._last_us = timestamp
        metrics.store_ready.set(1)
        metrics.last_sequence.set(sequence)
        metrics.commit_seconds.observe(time.perf_counter() - started)
        metrics.commit_jobs.observe(len(batch))
        self._settle(batch, lines)

    def _settle(self, batch: list[_Job], lines: list[StreamLine]) -> None:
        def settle() -> None:
            if lines:
                self._on_commit(lines)
            for job in batch:
                job.settle()

        # The loop is closed when the process gave up waiting for this commit: nobody is left to tell.
        with suppress(RuntimeError):
            batch[0].loop.call_soon_threadsafe(settle)

    def _fail(self, batch: list[_Job], error: Exception) -> None:
        metrics.store_failures.inc()
        metrics.store_ready.set(0)
        log.error("store write failed", reason=str(error), writes=len(batch))
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        # A full disk heals in place; a broken file is looked at afresh by the next write.
        if not isinstance(error, sqlite3.OperationalError | StoreUnavailableError):
            self._drop()
        reason = f"the event store {self.path} cannot be written: {error}"
        for job in batch:
            job.error = error if isinstance(error, StoreUnavailableError) else StoreUnavailableError(reason)
        self._settle(batch, [])

    def _usable_connection(self) -> sqlite3.Connection:
        if self._identity is not None:
            try:
                status = self.path.stat()
            except OSError as error:
                raise StoreUnavailableError(
                    f"the event store {self.path} is gone ({error.strerror}); restore the file"
                ) from None
            if (status.st_dev, status.st_ino) != self._identity:
                log.warning("store file replaced, opening it", path=str(self.path))
                self._drop()
            elif not self._has_header():
                # Closing the connection could write its log into the broken file and hide the damage.
                self._abandoned.append(self._connection)
                self._connection = None
                self._drop()
                raise StoreUnavailableError(f"the event store {self.path} is damaged; restore the file")
        if self._connection is None:
            self._open()
        if self._connection is None:
            raise StoreUnavailableError(f"the event store {self.path} is not open")
        return self._connection

    def _has_header(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(len(_MAGIC)) in {_MAGIC, b""}

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None
        self._identity = None
        self.generation += 1

    def _shut(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._drop()


def _probe(transaction: Transaction) -> None:
    transaction.connection.execute(
        "INSERT INTO store_metadata (key, value, updated_at) VALUES ('probe', ?, unixepoch()) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (str(transaction.now_us),),
    )
