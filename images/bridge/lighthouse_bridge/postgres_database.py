"""The store in PostgreSQL, for any number of bridges; `postgres_commits` says how they keep one order.

Other bridges hear of a commit by a notification, and look for themselves every two seconds, so that nothing is missed
when one is lost.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from . import metrics
from .chain import Head
from .database import BATCH_ROWS, Database
from .events import StreamLine, read_line
from .logs import log
from .postgres_commits import CHANNEL, MovedError, Sent, Writer
from .postgres_connection import Opened, PostgresSettings, connect, upgrade
from .postgres_reads import Reads
from .problems import StoreUnavailableError
from .transactions import HEAD, Batch, Connection, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
LOOK_SECONDS = 2.0
LISTEN_SECONDS = 0.5
OWN_SECONDS = 0.002
_PAGE = 1_000
_WRITER_KEPT_US = 7 * 86_400 * 1_000_000


class PostgresDatabase(Database):
    """The store that `settings` name."""

    DIALECT = "postgresql"
    # Only these say that the connection or the server failed; others concern the statement.
    ERRORS = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)

    def __init__(self, settings: PostgresSettings, on_commit: Callable[[list[StreamLine]], None]) -> None:
        super().__init__(f"the database {settings.database} at {settings.hosts}", on_commit)
        self._settings = settings
        self._commits = Writer(self.name)
        self._reads = Reads(settings, self.name, self.ERRORS)
        self._opened: Opened | None = None
        # The server's process that this bridge commits with, and whose notifications are no news here.
        self._own_pid = 0
        self._down_since: float | None = None
        self._uncertain: Sent | None = None
        self._known = False
        self._closing = threading.Event()
        self._listener = threading.Thread(target=self._listen, name="store-listener", daemon=True)

    async def close(self) -> None:
        """Finish queued writes and close the connections."""
        self._closing.set()
        await super().close()
        self._reads.close()

    def _begin(self) -> None:
        try:
            self._usable()
        except (*self.ERRORS, StoreUnavailableError) as error:
            self._note(error, 0)
        self._listener.start()

    def _read(self, work: Callable[[Connection], T], snapshot: bool, told: int | None) -> T:
        if not self._known:
            # Whatever tables are there, nobody has seen yet that they are those of this bridge.
            raise StoreUnavailableError(self.trouble or f"{self.name} was not opened yet")
        if told is None:
            return self._reads.run(work, snapshot=snapshot)
        return self._reads.run_behind(work, snapshot=snapshot, told=told)

    def _publish(self, lines: Iterable[StreamLine], jobs: list[Job], head: int) -> None:
        super()._publish(lines, jobs, head)
        self._reads.note(self.last_sequence)

    def _commit(self, jobs: list[Job]) -> None:
        """Commit in as few transactions as keep each short; a broken connection is made again meanwhile."""
        pause = 0.05
        while jobs:
            started = time.perf_counter()
            try:
                sent = self._attempt(self._usable(), jobs)
            except MovedError:
                self._commits.forget(others=True)
                self._uncertain = None
                continue
            except (*self.ERRORS, StoreUnavailableError) as error:
                self._note(error, len(jobs))
                if time.monotonic() - (self._down_since or 0) >= self._settings.retry_seconds:
                    self._give_up(jobs)
                    return
                if self._closing.wait(pause):
                    self._give_up(jobs)
                    return
                pause = min(pause * 2, 1.0)
                continue
            except _RunAgainError as again:
                jobs = [job for job in jobs if job is not again.job]
                self._publish((), [again.job], 0)
                continue
            except Exception as error:
                # Whatever it was, this thread must go on: every write waits for it.
                log.exception("store write failed", writes=len(jobs))
                self._note(error, len(jobs))
                self._give_up(jobs)
                return
            self._down_since = self._uncertain = None
            self._succeeded(sent.batch, sent.jobs, time.perf_counter() - started)
            jobs = [job for job in jobs if job not in sent.jobs]

    def _attempt(self, opened: Opened, jobs: list[Job]) -> Sent:
        if self._uncertain is not None:
            if self._commits.was_made(opened.raw, self._uncertain):
                return self._uncertain
            self._uncertain = None
        commit = self._commits.begin(opened, self.last_sequence)
        missed = self._missed(opened.connection, commit.end) if commit.locked else []
        batch = commit.batch()
        taken: list[Job] = []
        for job in jobs:
            if len(batch.rows) >= BATCH_ROWS:
                break
            taken.append(job)
            if not job.future.cancelled():
                self._run_job(opened.raw, batch, job)
        batch.lines = missed + batch.lines
        self._uncertain = Sent(batch, taken)
        commit.send(self._uncertain)
        return self._uncertain

    def _run_job(self, raw: Any, batch: Batch, job: Job) -> None:
        batch.run(job)
        if raw.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            # A statement before the first change failed: there is no savepoint to return to.
            raw.execute("ROLLBACK")
            raise _RunAgainError(job)

    def _missed(self, connection: Connection, head: Head) -> list[StreamLine]:
        """What other bridges committed and the listener did not hand on yet."""
        self._require_forward(head)
        if not self._known:
            self._known, self.last_sequence = True, head.sequence
        missed = _read_lines(connection, self.last_sequence, head.sequence)
        if missed:
            self._commits.forget(others=True)
        return missed

    def _require_forward(self, head: Head) -> None:
        if self._known and head.sequence < self.last_sequence:
            raise StoreUnavailableError(
                f"{self.name} ends at event {head.sequence}, before {self.last_sequence}, which this bridge has "
                "told others of: it was restored; restart every bridge"
            )

    def _usable(self) -> Opened:
        if self._opened is not None and not self._opened.is_usable(self._settings):
            self._drop()
        if self._opened is None:
            opened = connect(self._settings)
            try:
                self._prepare(opened)
            except BaseException:
                opened.raw.close()
                raise
            self._opened, self._own_pid = opened, opened.raw.info.backend_pid
        return self._opened

    def _prepare(self, opened: Opened) -> None:
        raw = opened.raw
        (setting,) = raw.execute("SHOW synchronous_commit").fetchone() or ("?",)
        if setting == "off":
            raise StoreUnavailableError(
                f"{self.name} has synchronous_commit=off and would lose acknowledged events; set it to on"
            )
        upgrade(self._settings, raw, self.name)
        opened.connection.execute(
            "DELETE FROM store_writers WHERE updated_us < ?", (time.time_ns() // 1000 - _WRITER_KEPT_US,)
        )
        row = opened.connection.execute(HEAD).fetchone()
        head = Head(*row) if row else Head()
        self._require_forward(head)
        with self._order:
            if not self._known:
                self._known, self.last_sequence = True, head.sequence
                self.generation += 1
                metrics.last_sequence.set(head.sequence)
                self._reads.note(head.sequence)
        metrics.store_ready.set(1)

    def _note(self, error: Exception, writes: int) -> None:
        metrics.store_failures.inc()
        metrics.store_ready.set(0)
        known = isinstance(error, StoreUnavailableError)
        self.trouble = str(error) if known else f"{self.name} cannot be written: {_first_line(error)}"
        if self._down_since is None:
            self._down_since = time.monotonic()
            log.error("store write failed", reason=self.trouble, writes=writes)
        self._drop()

    def _give_up(self, jobs: list[Job]) -> None:
        sent = self._uncertain.jobs if self._uncertain is not None else []
        for job in jobs:
            reason = self.trouble or f"{self.name} cannot be written"
            if job in sent:
                reason += "; whether the write was made is not known, so repeat it under the same key"
            job.error = StoreUnavailableError(reason)
        self._uncertain = None
        self._publish((), jobs, 0)

    def _drop(self) -> None:
        if self._opened is not None:
            with suppress(psycopg.Error):
                self._opened.raw.close()
        self._opened = None
        self._commits.forget()

    def _shut(self) -> None:
        self._drop()
        self._listener.join()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                opened = connect(self._settings)
                with opened.raw:
                    opened.raw.execute(f"LISTEN {CHANNEL}")
                    self._follow(opened)
            except (*self.ERRORS, StoreUnavailableError) as error:
                log.warning("store not heard", reason=_first_line(error))
                self._closing.wait(LISTEN_SECONDS)

    def _follow(self, opened: Opened) -> None:
        looked = 0.0
        while not self._closing.is_set() and opened.is_usable(self._settings):
            notices = list(opened.raw.notifies(timeout=LISTEN_SECONDS, stop_after=1))
            news = any(
                notice.pid != self._own_pid and int(notice.payload) > self.last_sequence for notice in notices
            )
            if not news:
                # This bridge's own come with every commit: hear of many at once.
                self._closing.wait(OWN_SECONDS)
            if self._known and (news or time.monotonic() >= looked + LOOK_SECONDS):
                self._catch_up(opened.connection)
                looked = time.monotonic()

    def _catch_up(self, connection: Connection) -> None:
        lines = _read_lines(connection, self.last_sequence, None)
        while lines:
            self._publish(lines, [], lines[-1].sequence)
            lines = _read_lines(connection, lines[-1].sequence, None) if len(lines) == _PAGE else []


class _RunAgainError(Exception):
    """One write failed in a way that undid the others of its commit."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job = job


def _read_lines(connection: Connection, after: int, until: int | None) -> list[StreamLine]:
    """Events after one sequence, in order: all until the other, or a page."""
    if until is not None and until <= after:
        return []
    bound, values = ("AND sequence_id <= ? ", (after, until)) if until is not None else ("", (after,))
    limit = "" if until is not None else f"LIMIT {_PAGE}"
    rows = connection.execute(
        f"SELECT sequence_id, event_data FROM events WHERE sequence_id > ? {bound}"  # noqa: S608 - made of constants
        f"ORDER BY sequence_id {limit}",
        values,
    )
    return [read_line(sequence, data) for sequence, data in rows]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
