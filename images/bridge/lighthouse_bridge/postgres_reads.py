"""Reads from PostgreSQL: of the primary, or of a standby that is not too far behind.

A standby is believed only when it has every event that the caller was told of, and every one that this bridge knew
some seconds ago: a standby whose replay stands still would otherwise hide events without anybody noticing. One that
lags or cannot be asked costs the primary a read, and nobody an answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import psycopg

from . import metrics
from .logs import log
from .postgres_connection import Opened, PostgresSettings, connect
from .problems import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transactions import Connection

T = TypeVar("T")
# How old what a standby says may be, and for how long one that failed is not asked again.
LAG_SECONDS = 5.0
AWAY_SECONDS = 5.0
_MARK_SECONDS = 0.5


class Reads:
    """Runs reads; every thread has connections of its own."""

    def __init__(self, settings: PostgresSettings, name: str, errors: tuple[type[Exception], ...]) -> None:
        self._settings = settings
        self._name = name
        self._errors = errors
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: set[Opened] = set()
        self._away_until = 0.0
        self._marks = _Marks()

    def note(self, sequence: int) -> None:
        """Hear of the last sequence whenever it changes."""
        self._marks.note(sequence)

    def close(self) -> None:
        """Close the connections of all threads, none of which may read any more."""
        with self._lock:
            for opened in self._all:
                opened.raw.close()
            self._all.clear()

    def run(self, work: Callable[[Connection], T], *, snapshot: bool) -> T:
        """Run `work` on the primary; raises StoreUnavailableError when it cannot be read."""
        for last in (False, True):
            try:
                return _see(self._opened("current"), work, snapshot)
            except self._errors as error:
                self._drop("current")
                if last:
                    metrics.store_failures.inc()
                    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                    raise StoreUnavailableError(f"{self._name} cannot be read: {reason}") from error
        raise StoreUnavailableError(f"{self._name} cannot be read")

    def run_behind(self, work: Callable[[Connection], T], *, snapshot: bool, told: int) -> T:
        """Run `work` on a standby that has the event `told`, if there is one; else as `run` does."""
        needed = max(told, self._marks.old())
        if self._settings.read_hosts and time.monotonic() >= self._away_until:
            try:
                return self._ask_standby(work, snapshot, needed)
            except _BehindError:
                pass
            except (psycopg.Error, StoreUnavailableError) as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("standby not read", hosts=self._settings.read_hosts, reason=str(error).strip())
        return self.run(work, snapshot=snapshot)

    def _ask_standby(self, work: Callable[[Connection], T], snapshot: bool, needed: int) -> T:
        def believed(connection: Connection) -> T:
            if needed and not _has(connection, needed):
                raise _BehindError
            return work(connection)

        for last in (False, True):
            fresh = getattr(self._local, "lagging", None) is None
            try:
                return _see(self._opened("lagging"), believed, snapshot)
            except psycopg.Error:
                self._drop("lagging")
                # A connection that was kept may only have outlived its server.
                if fresh or last:
                    raise
        raise _BehindError

    def _opened(self, slot: str) -> Opened:
        opened: Opened | None = getattr(self._local, slot, None)
        if opened is None or not opened.is_usable(self._settings):
            self._drop(slot)
            opened = connect(self._settings, reading=slot == "lagging")
            setattr(self._local, slot, opened)
            with self._lock:
                self._all.add(opened)
        return opened

    def _drop(self, slot: str) -> None:
        opened: Opened | None = getattr(self._local, slot, None)
        if opened is not None:
            opened.raw.close()
            with self._lock:
                self._all.discard(opened)
        setattr(self._local, slot, None)


class _BehindError(Exception):
    """The standby lacks events that the caller knows of."""


class _Marks:
    """Which sequence was known when: as much of it as tells what was known LAG_SECONDS ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: deque[tuple[float, int]] = deque()

    def note(self, sequence: int) -> None:
        """Take note of the last sequence of now."""
        now = time.monotonic()
        with self._lock:
            if not self._marks or self._marks[-1][0] <= now - _MARK_SECONDS:
                self._marks.append((now, sequence))
            else:
                self._marks[-1] = (self._marks[-1][0], sequence)
            while len(self._marks) > 1 and self._marks[1][0] <= now - LAG_SECONDS:
                self._marks.popleft()

    def old(self) -> int:
        """The last sequence as it was LAG_SECONDS ago, or 0 if none was known."""
        before = time.monotonic() - LAG_SECONDS
        with self._lock:
            return max((sequence for when, sequence in self._marks if when <= before), default=0)


def _has(connection: Connection, sequence: int) -> bool:
    row = connection.execute("SELECT 1 FROM events WHERE sequence_id >= ? LIMIT 1", (sequence,)).fetchone()
    return row is not None


def _see(opened: Opened, work: Callable[[Connection], T], snapshot: bool) -> T:
    if not snapshot:
        return work(opened.connection)
    opened.raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return work(opened.connection)
    finally:
        if not opened.raw.closed:
            opened.raw.execute("ROLLBACK")
