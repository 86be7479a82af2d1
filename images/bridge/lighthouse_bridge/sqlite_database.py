"""The store in one SQLite file, for one bridge.

`synchronous=FULL`: a commit is on disk before it is acknowledged, so it survives a killed process and a lost
node. No `mmap_size`: with memory mapping, a file cut short under the process would kill it with SIGBUS instead of
failing one read.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from . import metrics
from .chain import Head
from .clock import now_us
from .database import BATCH_ROWS, Database
from .logs import log
from .migrations import is_current
from .problems import StoreUnavailableError
from .transactions import HEAD, INSERT, Batch, Connection, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from .events import Row, StreamLine

T = TypeVar("T")
# Pages of 4 KiB that a connection keeps. Readers share the kernel's copies, and each would fill its own in time.
WRITER_PAGES = 10_000
READER_PAGES = 500
_MAGIC = b"SQLite format 3\0"
_VALUES = INSERT.partition(" VALUES ")[2]
# Rows of one statement. Each statement lets the event loop run, and has to wait until it may go on.
_INSERTS = {rows: INSERT + f",{_VALUES}" * (rows - 1) for rows in (128, 32, 8, 1)}


class SqliteDatabase(Database):
    """The store in the file `path`; a file that is gone, damaged or replaced is told and taken up again."""

    DIALECT = "sqlite"
    ERRORS = (sqlite3.Error,)

    def __init__(
        self, path: Path, min_free_bytes: int, on_commit: Callable[[list[StreamLine]], None]
    ) -> None:
        super().__init__(f"the event store {path}", on_commit)
        self.path = path
        self._min_free_bytes = min_free_bytes
        self._connection: sqlite3.Connection | None = None
        self._local = threading.local()
        self._identity: tuple[int, int] | None = None
        self._head = Head()
        # The file once more, for a look at its first bytes. It stays open as long as a connection may: closing
        # it would take back every lock that this process holds on the file, and another program would then
        # remove the log under the bridge.
        self._file = -1
        self._abandoned: list[tuple[sqlite3.Connection | None, int]] = []

    async def probe(self) -> None:
        """Also raises when the volume has less free space than it must."""
        await super().probe()
        free = await asyncio.to_thread(lambda: shutil.disk_usage(self.path.parent).free)
        if free < self._min_free_bytes:
            metrics.store_ready.set(0)
            raise StoreUnavailableError(
                f"the volume of {self.path} has {free} bytes free, fewer than {self._min_free_bytes}"
            )

    def _begin(self) -> None:
        try:
            self._open()
        except (sqlite3.Error, OSError, StoreUnavailableError) as error:
            log.error("store unusable", path=str(self.path), reason=str(error))

    def _read(self, work: Callable[[Connection], T], snapshot: bool, told: int | None) -> T:
        if self._identity is None:
            raise StoreUnavailableError(f"{self.name} is not open")
        try:
            if getattr(self._local, "generation", -1) != self.generation:
                if connection := getattr(self._local, "connection", None):
                    connection.close()
                self._local.connection = self._connect(READER_PAGES)
                self._local.generation = self.generation
            connection = self._local.connection
            if not snapshot:
                return work(connection)
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            metrics.store_failures.inc()
            self._local.generation = -1
            raise StoreUnavailableError(f"{self.name} cannot be read: {error}") from error

    def _connect(self, pages: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=5, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size={pages}")
        connection.execute("PRAGMA temp_store=MEMORY")
        # Pages that many commits write again are copied into the file once; the log stays below its limit.
        connection.execute("PRAGMA wal_autocheckpoint=8000")
        connection.execute(f"PRAGMA journal_size_limit={64 * 1024 * 1024}")
        return connection

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect(WRITER_PAGES)
        try:
            self._migrate(connection)
            row = connection.execute(HEAD).fetchone()
            self._head = Head(*row) if row else Head()
            status = self.path.stat()
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._identity = (status.st_dev, status.st_ino)
        self.last_sequence = self._head.sequence
        self.generation += 1
        metrics.store_ready.set(1)
        metrics.last_sequence.set(self.last_sequence)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        query = "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
        if not connection.execute(query).fetchone() or not is_current(connection, self.name):
            from .migrations.upgrade import upgrade_sqlite  # noqa: PLC0415 - most starts need none of it

            upgrade_sqlite(connection)

    def _commit(self, jobs: list[Job]) -> None:
        """Commit in as few transactions as keep each short."""
        while jobs:
            started = time.perf_counter()
            taken = 0
            try:
                connection = self._usable_connection()
                connection.execute("BEGIN IMMEDIATE")
                batch = Batch(connection, self._head, max(now_us(), self._head.timestamp_us))
                while taken < len(jobs) and len(batch.rows) < BATCH_ROWS:
                    if not jobs[taken].future.cancelled():
                        batch.run(jobs[taken])
                    taken += 1
                _insert(connection, batch.rows)
                connection.execute("COMMIT")
            except Exception as error:
                # Whatever it was, this thread must go on: every write waits for it.
                self._fail(jobs, error)
                return
            done, jobs = jobs[:taken], jobs[taken:]
            self._head = batch.head
            self._succeeded(batch, done, time.perf_counter() - started)

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        metrics.store_failures.inc()
        metrics.store_ready.set(0)
        log.error("store write failed", reason=str(error), writes=len(jobs))
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
        # A full disk heals in place; a broken file is looked at afresh by the next write.
        if not isinstance(error, sqlite3.OperationalError | StoreUnavailableError):
            self._drop()
        known = isinstance(error, StoreUnavailableError)
        self.trouble = str(error) if known else f"{self.name} cannot be written: {error}"
        for job in jobs:
            job.error = StoreUnavailableError(self.trouble)
        self._publish((), jobs, 0)

    def _usable_connection(self) -> sqlite3.Connection:
        if self._identity is not None:
            try:
                status = self.path.stat()
            except OSError as error:
                raise StoreUnavailableError(
                    f"{self.name} is gone ({error.strerror}); restore the file"
                ) from None
            if (status.st_dev, status.st_ino) != self._identity:
                log.warning("store file replaced, opening it", path=str(self.path))
                self._drop()
            elif not self._has_header():
                # Closing the connection could write its log into the broken file and hide the damage.
                self._abandoned.append((self._connection, self._file))
                self._connection, self._file = None, -1
                self._drop()
                raise StoreUnavailableError(f"{self.name} is damaged; restore the file")
        if self._connection is None:
            self._open()
        if self._connection is None:
            raise StoreUnavailableError(f"{self.name} is not open")
        return self._connection

    def _has_header(self) -> bool:
        return os.pread(self._file, len(_MAGIC), 0) in {_MAGIC, b""}

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        if self._file >= 0:
            os.close(self._file)
        self._connection, self._file = None, -1
        self._identity = None
        self.generation += 1

    def _shut(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._drop()


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert events in as few statements as possible."""
    start = 0
    for count, statement in _INSERTS.items():
        while len(rows) - start >= count:
            connection.execute(statement, list(chain.from_iterable(rows[start : start + count])))
            start += count
