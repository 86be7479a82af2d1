"""How one bridge commits to PostgreSQL.

A commit takes one advisory lock, reads where the store ends, appends and commits, so that sequences, the hash chain
and the order in which commits become visible are one and the same: no event appears below one that was seen. The
lock is the transaction's, so a bridge that dies gives it back.

A bridge that alone has written lately knows where the store ends. It sends such a commit as one statement, which
takes the lock, sees whether that is still so, and appends; a write that runs statements of its own takes the lock
before the first.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg

from .chain import COLUMNS, Head
from .problems import StoreUnavailableError
from .transactions import HEAD, Batch, Connection, Cursor, Job

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .events import Row
    from .postgres_connection import Opened, Raw

COMMIT_LOCK = 0x6C686576
CHANNEL = "lighthouse_events"
# How long a bridge reads where the store ends after another was seen to write.
OTHERS_SECONDS = 1.0
_LOCK = "SELECT pg_advisory_xact_lock(%s)"
# One clock for all bridges, the server's, though there is no event yet.
_END = (
    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, h.* "  # noqa: S608 - made of constants
    f"FROM (SELECT 1) one LEFT JOIN ({HEAD}) h ON true"
)
_ADD = "SELECT add_events(%s)"
_APPEND = "SELECT made, clock_us FROM append_events(%s, %s, %s, %s, %s)"
_TOKEN = (
    "INSERT INTO store_writers (writer_id, token, updated_us) VALUES (%s, %s, %s) "  # noqa: S105 - a statement
    "ON CONFLICT (writer_id) DO UPDATE SET token = excluded.token, updated_us = excluded.updated_us"
)
_MADE = (
    "SELECT EXISTS (SELECT FROM store_writers WHERE writer_id = %s AND token = %s) "
    "OR EXISTS (SELECT FROM events WHERE sequence_id = %s AND row_hash = %s)"
)
_NAMES = (*COLUMNS, "row_hash")
_encode = msgspec.json.Encoder().encode


class MovedError(psycopg.OperationalError):
    """The store ends elsewhere than the commit was built on: build it again. It concerns all writes of the commit,
    as other operational errors do."""


class Sent:
    """A commit that was sent. Its token, or its last event, tells afterwards whether it was made."""

    def __init__(self, batch: Batch, jobs: list[Job]) -> None:
        self.token = secrets.token_hex(8)
        self.batch = batch
        self.jobs = jobs


class Writer:
    """What a bridge remembers from one commit to the next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._id = secrets.token_hex(8)
        # The token of the last commit under the lock. Another one forbids what still is under way.
        self._mark = ""
        self._end: Head | None = None
        self._clock_ahead_us = 0
        self._others_at = -OTHERS_SECONDS

    def begin(self, opened: Opened, handed_on: int) -> Commit:
        """Begin a commit; `handed_on` is the last sequence that this bridge has told others of."""
        if self._end is not None and self._end.sequence != handed_on:
            self.forget(others=True)
        alone = time.monotonic() >= self._others_at + OTHERS_SECONDS
        return Commit(self, opened, self._end if alone else None)

    def forget(self, *, others: bool = False) -> None:
        """Where the store ends is not known any more, because of `others` that write or of a failure."""
        self._end = None
        if others:
            self._others_at = time.monotonic()

    def was_made(self, raw: Raw, sent: Sent) -> bool:
        """Whether a commit whose answer never came was made; if not, it never will be."""
        last = sent.batch.head if sent.batch.rows else None
        values = (self._id, sent.token, last and last.sequence, last and last.hash)
        token = secrets.token_hex(8)
        with raw.pipeline():
            raw.execute("BEGIN")
            raw.execute(_LOCK, (COMMIT_LOCK,))
            (made,) = raw.execute(_MADE, values).fetchone() or (False,)
            raw.execute(_TOKEN, (self._id, token, sent.batch.now_us))
            raw.execute("COMMIT")
        self._mark = token
        return bool(made)

    def lock(self, raw: Raw) -> Head:
        """Begin a transaction that holds the lock of commits; returns where the store ends."""
        with raw.pipeline():
            raw.execute("BEGIN")
            raw.execute(_LOCK, (COMMIT_LOCK,))
            cursor = raw.execute(_END)
            row = cursor.fetchone()
        if row is None:
            raise StoreUnavailableError(f"{self.name} does not say where it ends")
        self._hear_clock(row[0])
        return Head(*row[1:]) if row[1] is not None else Head()

    def finish(self, raw: Raw, sent: Sent) -> None:
        """Append and commit in the transaction that holds the lock."""
        with raw.pipeline():
            if sent.batch.rows:
                raw.execute(_ADD, (_json(sent.batch.rows),))
            raw.execute(_TOKEN, (self._id, sent.token, sent.batch.now_us))
            raw.execute("COMMIT")
        self._mark, self._end = sent.token, sent.batch.head

    def append(self, raw: Raw, end: Head, sent: Sent) -> None:
        """Append in one statement, or raise MovedError."""
        values = (_json(sent.batch.rows), end.sequence, end.hash, self._id, self._mark)
        made, clock_us = raw.execute(_APPEND, values, prepare=True).fetchone() or (False, 0)
        if not made:
            raise MovedError
        self._hear_clock(clock_us)
        self._end = sent.batch.head

    def clock_us(self) -> int:
        """The server's clock, as far as it is known here."""
        return time.monotonic_ns() // 1000 + self._clock_ahead_us

    def _hear_clock(self, server_us: int) -> None:
        self._clock_ahead_us = server_us - time.monotonic_ns() // 1000


class Commit:
    """One commit. Writes run their statements on it: the first takes the lock of commits."""

    def __init__(self, writer: Writer, opened: Opened, end: Head | None) -> None:
        self.locked = end is None
        self._writer = writer
        self._raw = opened.raw
        self._connection: Connection = opened.connection
        # Where the store ends.
        self.end = writer.lock(opened.raw) if end is None else end

    def batch(self) -> Batch:
        """What is to be committed, empty yet."""
        return Batch(self, self.end, max(self._writer.clock_us(), self.end.timestamp_us))

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> Cursor:
        """As Connection says; raises MovedError when the store ends elsewhere."""
        self._lock()
        return self._connection.execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """As Connection says; raises as `execute` does."""
        self._lock()
        return self._connection.executemany(sql, parameters)

    def send(self, sent: Sent) -> None:
        """Return when it is durable; raises MovedError when the store ends elsewhere: then nothing was done."""
        if self.locked:
            self._writer.finish(self._raw, sent)
        else:
            self._writer.append(self._raw, self.end, sent)

    def _lock(self) -> None:
        if self.locked:
            return
        found = self._writer.lock(self._raw)
        if (found.sequence, found.hash) != (self.end.sequence, self.end.hash):
            self._raw.execute("ROLLBACK")
            raise MovedError
        self.locked = True


def _json(rows: list[Row]) -> str:
    # Hashes become base64.
    return _encode([dict(zip(_NAMES, row, strict=True)) for row in rows]).decode()
