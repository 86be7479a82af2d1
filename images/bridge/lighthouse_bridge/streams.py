"""Fan-out of committed events to open streams: recent ones from memory, older ones from the store."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING

import msgspec

from .events import StreamLine, read_line

if TYPE_CHECKING:
    from .database import Database
    from .stream_room import Place
    from .transactions import Connection

_KEPT = 8192
_KEPT_BYTES = 16 * 1024 * 1024
# What one stream is handed at once, and so at most holds while its reader is slow.
_PAGE = 500
PAGE_BYTES = 1024 * 1024
# Events until so many characters have come before them: large ones are not all read to be cut off again.
_READ_PAGE = (
    "SELECT sequence_id, event_data FROM ("
    "SELECT sequence_id, event_data, sum(length(event_data)) OVER (ORDER BY sequence_id) - length(event_data) AS before "
    "FROM (SELECT sequence_id, event_data FROM events WHERE sequence_id > ? ORDER BY sequence_id LIMIT ?) AS page"
    ") AS measured WHERE before < ? ORDER BY sequence_id"
)


class Item(msgspec.Struct, frozen=True):
    """An event as streams pass it on: what they filter by, and its line as JSON."""

    sequence: int
    event_type: str
    agent_id: str | None
    aggregate_id: str | None
    line: bytes


class Feed:
    """The order of events as streams see it. Lives in the event loop; only `read_page` leaves it."""

    def __init__(self) -> None:
        self._recent: list[Item] = []
        self._bytes = 0
        self._wake: asyncio.Event = asyncio.Event()
        self.closing = False

    def publish(self, lines: list[StreamLine]) -> None:
        """Take the events of one commit and wake every stream."""
        items = [_item(line) for line in lines]
        self._recent += items
        self._bytes += sum(len(item.line) for item in items)
        if len(self._recent) > _KEPT or self._bytes > _KEPT_BYTES:
            self._prune()
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

    async def after(self, database: Database, sequence: int, place: Place) -> list[Item] | None:
        """The next events after `sequence`, in order, without gap, held in `place`; empty when there are none yet,
        None when there is no room for them."""
        recent = self._recent
        if recent and recent[0].sequence <= sequence + 1:
            # Sequences may have gaps: search, do not index.
            begin = bisect_right(recent, sequence, key=lambda item: item.sequence)
            items = _page(recent[begin : begin + _PAGE])
            if not place.fits(size_of(items)):
                return None
        elif sequence >= database.last_sequence:
            items = []
        elif not place.fits(PAGE_BYTES):
            return None
        else:
            # Made room for before they are read.
            place.hold(PAGE_BYTES)
            items = _page(await database.read(lambda connection: read_page(connection, sequence)))
        place.hold(size_of(items))
        return items

    def _prune(self) -> None:
        """Forget the oldest quarter more than must be, so that it is not done for every event."""
        count, size = len(self._recent), self._bytes
        drop = 0
        while count - drop > _KEPT * 3 // 4 or size > _KEPT_BYTES * 3 // 4:
            size -= len(self._recent[drop].line)
            drop += 1
        del self._recent[:drop]
        self._bytes = size


def read_page(connection: Connection, sequence: int) -> list[Item]:
    """A page of stored events after `sequence`, in order; no more of them than some fit into."""
    rows = connection.execute(_READ_PAGE, (sequence, _PAGE, PAGE_BYTES))
    return [_item(read_line(row[0], row[1])) for row in rows]


def size_of(items: list[Item]) -> int:
    """The bytes of their lines."""
    return sum(len(item.line) for item in items)


def _item(line: StreamLine) -> Item:
    return Item(line.sequence, line.event_type, line.agent_id, line.aggregate_id, msgspec.json.encode(line))


def _page(items: list[Item]) -> list[Item]:
    """As many of the items as fit, at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(item.line)
        if size > PAGE_BYTES:
            return items[: max(1, count)]
    return items
