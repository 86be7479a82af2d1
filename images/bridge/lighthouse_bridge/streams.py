"""Fan-out of committed events to open streams: recent ones from memory, older ones from the store."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from .events import StreamLine, line_of

if TYPE_CHECKING:
    import sqlite3

    from .database import Database

_KEPT = 8192
_KEPT_BYTES = 16 * 1024 * 1024
_PAGE = 500
MAX_SUBSCRIBERS = 1024

Item = tuple[int, str, bytes]


class Feed:
    """The order of events as streams see it. Lives in the event loop; only `read_page` leaves it."""

    def __init__(self) -> None:
        self._recent: deque[Item] = deque()
        self._bytes = 0
        self._wake: asyncio.Event = asyncio.Event()
        self.closing = False

    def publish(self, lines: list[StreamLine]) -> None:
        """Take the events of one commit and wake every stream."""
        for line in lines:
            item = (line.sequence, line.event_type, msgspec.json.encode(line) + b"\n")
            self._recent.append(item)
            self._bytes += len(item[2])
        while len(self._recent) > _KEPT or self._bytes > _KEPT_BYTES:
            self._bytes -= len(self._recent.popleft()[2])
        self.wake()

    def wake(self) -> None:
        """Let every waiting stream look again."""
        self._wake.set()
        self._wake = asyncio.Event()

    def close(self) -> None:
        """Ask every stream to send its last line and end."""
        self.closing = True
        self.wake()

    def ticket(self) -> asyncio.Event:
        """Taken before looking, it makes `wait` return for whatever is published after the look began."""
        return self._wake

    async def wait(self, ticket: asyncio.Event, seconds: float) -> None:
        """Return at the first publication since the ticket was taken, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await ticket.wait()
        except TimeoutError:
            return

    async def after(self, database: Database, sequence: int) -> list[Item]:
        """The next events after `sequence`, in order, without gap; empty when there are none yet."""
        recent = self._recent
        if recent and recent[0][0] <= sequence + 1:
            # Sequences of this store have no gaps but in files that were migrated: search, do not index.
            newest_first = []
            for item in reversed(recent):
                if item[0] <= sequence:
                    break
                newest_first.append(item)
            return newest_first[::-1]
        if sequence >= database.last_sequence:
            return []
        return await database.read(lambda connection: read_page(connection, sequence))


def read_page(connection: sqlite3.Connection, sequence: int) -> list[Item]:
    """A page of stored events after `sequence`, in order."""
    rows = connection.execute(
        "SELECT sequence_id, event_data FROM events WHERE sequence_id > ? ORDER BY sequence_id LIMIT ?",
        (sequence, _PAGE),
    )
    return [
        (row[0], line.event_type, msgspec.json.encode(line) + b"\n")
        for row in rows
        for line in (line_of(row[0], row[1]),)
    ]
