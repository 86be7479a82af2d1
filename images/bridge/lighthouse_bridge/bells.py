"""Lets requests wait for what a commit brings, without asking the store again and again."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .events import EventType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .events import StreamLine


class Bells:
    """One bell a name: a validation's id rings when it is decided, an expert's id when it has work."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self.closing = False

    def publish(self, lines: list[StreamLine]) -> None:
        """Ring for the events of one commit."""
        for line in lines:
            if line.event_type == EventType.EXPERT_AGENT_SUMMONED:
                self.ring(line.agent_id)
            elif line.event_type == EventType.VALIDATION_DECISION_MADE:
                self.ring(line.aggregate_id)

    def close(self) -> None:
        """Send everybody away: the bridge is shutting down."""
        self.closing = True
        for name in list(self._listeners):
            self.ring(name)

    @contextmanager
    def listen(self, name: str) -> Iterator[asyncio.Event]:
        """An event that is set by every ring from now on; look only after listening, so that none is missed."""
        event = asyncio.Event()
        self._listeners.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            listeners = self._listeners[name]
            listeners.discard(event)
            if not listeners:
                del self._listeners[name]

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Return at the next ring, after `seconds`, or at once when the bridge is shutting down."""
        if not self.closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, seconds)):
                    await event.wait()
        event.clear()

    def ring(self, name: str | None) -> None:
        """Wake whoever listens to the name."""
        for event in self._listeners.get(name or "", ()):
            event.set()
