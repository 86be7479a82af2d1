"""Events as they happen over HTTP: lines of JSON, or server-sent events for who asks for them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from .. import event_messages as m
from ..credentials import Role
from ..events import StreamLine
from ..exchange import NDJSON, SSE, StreamReply
from ..problems import Problem
from ..route import Route
from ..subscriptions import TOO_SLOW, Batch, Beat, Closing, make_filter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..bridge import Bridge
    from ..exchange import Call

SLOW_REASON = "the reader is too slow"


async def stream(bridge: Bridge, call: Call) -> StreamReply:
    """Events after a sequence, then live ones as they are committed."""
    q: m.StreamQuery = call.query
    wanted = make_filter(_names(q.types), _names(q.agents), _names(q.aggregates))
    sse = call.accepts(SSE)
    after = _resumed(call) if sse and call.header("last-event-id") else q.after
    await bridge.subscribers.check(after)
    session = call.session
    stack = ExitStack()
    place = stack.enter_context(bridge.subscribers.room.entered(session.agent_id))
    write = _Sse() if sse else _Lines()

    async def chunks() -> AsyncIterator[bytes]:
        steps = bridge.subscribers.follow(place, after, wanted, lambda: bridge.sessions.lives(session))
        async for step in steps:
            yield write.step(step)

    return StreamReply(chunks(), write.media_type, stack.close, write.dropped)


class _Lines:
    """One JSON object a line."""

    media_type = NDJSON

    def __init__(self) -> None:
        self._sequence = 0

    def step(self, step: Batch | Beat | Closing) -> bytes:
        """The bytes that say it."""
        self._sequence = _sequence(step)
        if isinstance(step, Batch):
            return b"".join(item.line + b"\n" for item in step.items)
        if isinstance(step, Beat):
            return msgspec.json.encode(m.HeartbeatLine(True, step.sequence)) + b"\n"
        return msgspec.json.encode(m.ClosingLine(True, step.sequence, step.reason)) + b"\n"

    def dropped(self) -> bytes:
        """The last words to a slow reader."""
        return self.step(Closing(self._sequence, SLOW_REASON, TOO_SLOW))


class _Sse:
    """Server-sent events; every one has an id to resume from."""

    media_type = SSE

    def __init__(self) -> None:
        self._sequence = 0

    def step(self, step: Batch | Beat | Closing) -> bytes:
        """The bytes that say it."""
        self._sequence = _sequence(step)
        if isinstance(step, Batch):
            return b"".join(b"id: %d\ndata: %b\n\n" % (item.sequence, item.line) for item in step.items)
        if isinstance(step, Beat):
            return self._named("heartbeat", m.HeartbeatLine(True, step.sequence))
        name = "dropped" if step.code == TOO_SLOW else "closing"
        return self._named(name, m.ClosingLine(True, step.sequence, step.reason))

    def dropped(self) -> bytes:
        """The last words to a slow reader."""
        return self.step(Closing(self._sequence, SLOW_REASON, TOO_SLOW))

    def _named(self, name: str, line: m.HeartbeatLine | m.ClosingLine) -> bytes:
        data = msgspec.json.encode(line)
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (line.sequence, name.encode(), data)


def _sequence(step: Batch | Beat | Closing) -> int:
    return step.items[-1].sequence if isinstance(step, Batch) else step.sequence


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _resumed(call: Call) -> int:
    text = call.header("last-event-id")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem(400, f"Last-Event-ID is {text[:80]!r}; send the id of the last event that was read.")
    return int(text)


ROUTES = (
    Route(
        method="GET",
        path="/events/stream",
        handle=stream,
        role=Role.EXPERT,
        query=m.StreamQuery,
        summary="Events as they happen: one JSON object a line, or server-sent events (Accept: text/event-stream)",
        media_types=(NDJSON, SSE),
        answers={200: StreamLine | m.HeartbeatLine | m.ClosingLine},
        errors=frozenset({400, 409, 429}),
    ),
)
