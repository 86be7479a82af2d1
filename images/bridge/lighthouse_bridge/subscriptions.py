"""One subscriber's way through the events: where it is, what it wants, when it must go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from .events import EventType
from .problems import Problem, StoreUnavailableError
from .stream_room import Counted, Room
from .streams import size_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from .database import Database
    from .stream_room import Place
    from .streams import Feed, Item
    from .transactions import Connection

# How often an open stream asks whether its session still lives.
SESSION_SECONDS = 1.0
_TYPES = frozenset(kind.value for kind in EventType)


class Filter(msgspec.Struct, frozen=True):
    """Which events are wanted; an empty set wants all."""

    types: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    aggregates: frozenset[str] = frozenset()

    def admits(self, item: Item) -> bool:
        """Whether the subscriber wants this event."""
        return (
            (not self.types or item.event_type in self.types)
            and (not self.agents or item.agent_id in self.agents)
            and (not self.aggregates or item.aggregate_id in self.aggregates)
        )


def make_filter(types: Iterable[str], agents: Iterable[str], aggregates: Iterable[str]) -> Filter:
    """The filter of these names; raises Problem 400 for a type that does not exist."""
    made = Filter(frozenset(types), frozenset(agents), frozenset(aggregates))
    for name in sorted(made.types - _TYPES):
        raise Problem(400, f"{name!r} is not an event type; leave 'types' out to see all.")
    return made


class Batch(msgspec.Struct, frozen=True):
    """Events, in order."""

    items: list[Item]


class Beat(msgspec.Struct, frozen=True):
    """Nothing wanted happened for a while; the stream can be resumed after `sequence`."""

    sequence: int


class Closing(msgspec.Struct, frozen=True):
    """The last step; `code` is that of a closed WebSocket."""

    sequence: int
    reason: str
    code: int


GOING_AWAY, TRY_LATER, SESSION_ENDED, TOO_SLOW = 1001, 1013, 4401, 4408


class Subscribers:
    """The way into streams; every one has a place in `room`, and WebSockets are counted besides."""

    def __init__(self, feed: Feed, database: Database, beat_seconds: float) -> None:
        self._feed = feed
        self._database = database
        self._beat = beat_seconds
        self.room = Room()
        self.sockets = Counted("sockets")

    async def check(self, after: int) -> None:
        """Raise Problem 409 when the store ends before `after`, and StoreUnavailableError for a bridge that stops."""
        if self._feed.closing:
            raise StoreUnavailableError("the bridge is shutting down")
        if after <= self._database.last_sequence:
            return
        # Another bridge may have told of events that this one has not heard of yet.
        last = await self._database.read(_last_sequence)
        if after > last:
            raise Problem(
                409,
                f"The store ends at {last}, before {after}: it is another store than the one read before; "
                "start over from its tree.",
            )

    async def follow(
        self, place: Place, after: int, wanted: Filter, lives: Callable[[], Awaitable[bool]]
    ) -> AsyncIterator[Batch | Beat | Closing]:
        """What to tell a subscriber, from the event after `after` on, until it must go; a beat comes first. What it
        is told counts as held in `place` until it asks for more."""
        sequence = after
        yield Beat(sequence)
        spoken = checked = time.monotonic()
        while True:
            ticket = self._feed.ticket()
            try:
                items = await self._feed.after(self._database, sequence, place)
                if time.monotonic() >= checked + SESSION_SECONDS:
                    checked = time.monotonic()
                    if not await lives():
                        yield Closing(sequence, "the session has ended", SESSION_ENDED)
                        return
            except StoreUnavailableError as error:
                yield Closing(sequence, str(error), TRY_LATER)
                return
            if items:
                sequence = items[-1].sequence
                items = [item for item in items if wanted.admits(item)]
                place.hold(size_of(items))
                if items:
                    yield Batch(items)
                    spoken = time.monotonic()
                    items = []
                    place.hold(0)
            elif items is None:
                # Slow readers fill the room: one is dropped in time, and meanwhile this one hears that it is served.
                due = min(spoken + self._beat, checked + SESSION_SECONDS)
                await place.freed(max(0.0, due - time.monotonic()))
            elif self._feed.closing:
                yield Closing(sequence, "the bridge is shutting down", GOING_AWAY)
                return
            else:
                now = time.monotonic()
                await self._feed.wait(
                    ticket, max(0.0, min(spoken + self._beat, checked + SESSION_SECONDS) - now)
                )
            # Also while only events happen that are not wanted, so that the client can resume from here.
            if time.monotonic() >= spoken + self._beat:
                yield Beat(sequence)
                spoken = time.monotonic()


def _last_sequence(connection: Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(sequence_id), 0) FROM events").fetchone()[0])
