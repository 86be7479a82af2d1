"""How much open streams may hold, all together and each agent's: places, and bytes that wait for their readers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from . import metrics
from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_OPEN = 1024
MAX_OPEN_OF_AGENT = 64
# A piece is counted twice: as events, and as what is written of them.
COPIES = 2
MAX_BYTES = 96 * 1024 * 1024
# The streams of one agent leave twice as much to the others.
MAX_BYTES_OF_AGENT = MAX_BYTES // 3


class Counted:
    """How many of one thing agents have open."""

    def __init__(self, things: str) -> None:
        self._things = things
        self._open: Counter[str] = Counter()

    @contextmanager
    def entered(self, agent_id: str) -> Iterator[None]:
        """Count one more while it is open; raises Problem 429 when there are too many."""
        if self._open.total() >= MAX_OPEN:
            raise _full(f"{MAX_OPEN} {self._things} are open already")
        if self._open[agent_id] >= MAX_OPEN_OF_AGENT:
            raise _full(f"The agent {agent_id!r} has {MAX_OPEN_OF_AGENT} {self._things} open already")
        self._open[agent_id] += 1
        try:
            yield
        finally:
            self._open -= Counter({agent_id: 1})


class Room:
    """The room of all streams. Lives in the event loop."""

    def __init__(self) -> None:
        self._streams = Counted("streams")
        self._bytes: Counter[str] = Counter()
        self._freed = asyncio.Event()

    @contextmanager
    def entered(self, agent_id: str) -> Iterator[Place]:
        """A place for one more stream while it is open; raises Problem 429 when there are too many."""
        with self._streams.entered(agent_id):
            metrics.stream_subscribers.inc()
            place = Place(self, agent_id)
            try:
                yield place
            finally:
                place.leave()
                metrics.stream_subscribers.dec()

    def fits(self, agent_id: str, size: int) -> bool:
        """Whether so many bytes more may be held; a piece that is larger than an agent's part counts as that part."""
        size = min(size, MAX_BYTES_OF_AGENT)
        own = self._bytes[agent_id] + size <= MAX_BYTES_OF_AGENT
        return own and self._bytes.total() + size <= MAX_BYTES

    def change(self, agent_id: str, size: int) -> None:
        """Count bytes that are held, or are no longer."""
        self._bytes[agent_id] += size
        if not self._bytes[agent_id]:
            del self._bytes[agent_id]
        if size < 0:
            self._freed.set()
            self._freed = asyncio.Event()

    async def freed(self, seconds: float) -> None:
        """Return when something was let go, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._freed.wait()
        except TimeoutError:
            return


class Place:
    """One open stream's part of the room."""

    def __init__(self, room: Room, agent_id: str) -> None:
        self._room = room
        self._agent_id = agent_id
        self._held = 0
        self._left = False

    def fits(self, size: int) -> bool:
        """Whether a piece of this size may be held now."""
        return self._room.fits(self._agent_id, size * COPIES)

    def hold(self, size: int) -> None:
        """Count a piece of this size in place of what was held before."""
        change = size * COPIES - self._held
        if change and not self._left:
            self._held += change
            self._room.change(self._agent_id, change)

    def leave(self) -> None:
        """Hold nothing any more, whatever is still being read."""
        self.hold(0)
        self._left = True

    async def freed(self, seconds: float) -> None:
        """Return when there may be room again, or after `seconds`."""
        await self._room.freed(seconds)


def _full(reason: str) -> Problem:
    return Problem(429, f"{reason}; close some, or try again later.", (("Retry-After", "5"),))
