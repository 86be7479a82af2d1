"""Events: stored, queried and streamed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from .. import messages as m
from .. import metrics
from ..bounds import check_shape
from ..clock import parse_iso
from ..credentials import Role
from ..events import RESERVED, EventType, StreamLine, line_of
from ..exchange import NDJSON, StreamReply, reply
from ..problems import Problem, StoreUnavailableError
from ..route import Route
from ..streams import MAX_SUBSCRIBERS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator

    from ..bridge import Bridge
    from ..database import Transaction
    from ..exchange import Call, Reply


async def store(bridge: Bridge, call: Call) -> Reply:
    """Append one event of the caller's own."""
    body: m.EventStoreRequest = call.body
    check_shape(body.data, "data")
    check_shape(body.metadata, "metadata")
    check_shape([body.aggregate_id, body.aggregate_type], "The aggregate")
    if body.event_type in RESERVED:
        raise Problem(400, f"Events of type {body.event_type.value!r} are made by the bridge alone.")
    if body.agent_id is not None:
        call.require_agent(body.agent_id)
    metadata = dict(body.metadata)
    if body.aggregate_type is not None:
        metadata["aggregate_type"] = body.aggregate_type

    def work(transaction: Transaction) -> StreamLine:
        return transaction.append(
            body.event_type, call.session.agent_id, body.aggregate_id, body.data, metadata
        )

    line = await bridge.database.write(work)
    return reply(m.EventStoreAnswer(line.event_id, "stored", f"Stored as {line.sequence}.", line.sequence))


async def query(bridge: Bridge, call: Call) -> Reply:
    """The latest events that pass the filters, in order."""
    q: m.EventQuery = call.query
    clauses = ["1"]
    values: list[Any] = []
    for column, value in (("event_type =", q.event_type), ("agent_id =", q.agent_id)):
        if value is not None:
            clauses.append(f"{column} ?")
            values.append(str(value))
    for name, operator, text in (("start_time", ">=", q.start_time), ("end_time", "<=", q.end_time)):
        if text is not None:
            clauses.append(f"timestamp {operator} ?")
            values.append(read_time(name, text))
    # Only names from this module are put into the statement; what the client sent is bound.
    statement = (
        f"SELECT sequence_id, event_data FROM events WHERE {' AND '.join(clauses)} "  # noqa: S608 - clauses are constants
        "ORDER BY sequence_id DESC LIMIT ?"
    )

    def work(connection: sqlite3.Connection) -> list[StreamLine]:
        rows = connection.execute(statement, (*values, q.limit)).fetchall()
        return [line_of(sequence, data) for sequence, data in reversed(rows)]

    events = await bridge.database.read(work)
    return reply(m.EventQueryAnswer(events, len(events), f"{len(events)} events."))


async def stream(bridge: Bridge, call: Call) -> StreamReply:
    """Events after a sequence, then live ones as they are committed."""
    q: m.StreamQuery = call.query
    wanted = frozenset(part for part in q.types.split(",") if part)
    for name in wanted - {kind.value for kind in EventType}:
        raise Problem(400, f"{name!r} is not an event type; leave 'types' out to see all.")
    if q.after > bridge.database.last_sequence:
        raise Problem(
            409,
            f"The store ends at {bridge.database.last_sequence}, before {q.after}: it is another store than "
            "the one read before; start over from its tree.",
        )
    if bridge.draining:
        raise StoreUnavailableError("the bridge is shutting down")
    if metrics.stream_subscribers._value.get() >= MAX_SUBSCRIBERS:
        raise Problem(
            429, f"{MAX_SUBSCRIBERS} streams are open already; try again later.", (("Retry-After", "5"),)
        )
    metrics.stream_subscribers.inc()

    def closed(slow: bool) -> None:
        metrics.stream_subscribers.dec()
        if slow:
            metrics.stream_dropped.inc()

    return StreamReply(_lines(bridge, q.after, wanted), NDJSON, closed)


async def _lines(bridge: Bridge, after: int, wanted: frozenset[str]) -> AsyncIterator[bytes]:
    sequence = after
    feed, silence = bridge.feed, bridge.settings.heartbeat_seconds
    # The first bytes tell the client at once that it is subscribed.
    yield _heartbeat(sequence)
    spoken = time.monotonic()
    while True:
        ticket = feed.ticket()
        try:
            items = await feed.after(bridge.database, sequence)
        except StoreUnavailableError as error:
            yield msgspec.json.encode(m.ClosingLine(True, sequence, str(error))) + b"\n"
            return
        if items:
            sequence = items[-1][0]
            chunk = b"".join(line for _, kind, line in items if not wanted or kind in wanted)
            if chunk:
                yield chunk
                spoken = time.monotonic()
        elif feed.closing:
            yield msgspec.json.encode(m.ClosingLine(True, sequence, "the bridge is shutting down")) + b"\n"
            return
        else:
            await feed.wait(ticket, max(0.0, spoken + silence - time.monotonic()))
        # Also while only events of other types happen, so that the client can resume from here.
        if time.monotonic() >= spoken + silence:
            yield _heartbeat(sequence)
            spoken = time.monotonic()


def _heartbeat(sequence: int) -> bytes:
    return msgspec.json.encode(m.HeartbeatLine(True, sequence)) + b"\n"


def read_time(name: str, text: str) -> int:
    """Microseconds since the epoch of a query's time; raises Problem 400 naming the parameter."""
    try:
        return parse_iso(text)
    except (ValueError, OverflowError):
        raise Problem(400, f"{name} is {text!r}; write a time as 2026-01-31T12:00:00Z.") from None


ROUTES = (
    Route(
        method="POST",
        path="/event/store",
        handle=store,
        role=Role.BUILDER,
        body=(m.EventStoreRequest,),
        summary="Append an event",
        answers={200: m.EventStoreAnswer},
    ),
    Route(
        method="GET",
        path="/event/query",
        handle=query,
        role=Role.EXPERT,
        query=m.EventQuery,
        summary="The latest matching events, in order",
        answers={200: m.EventQueryAnswer},
        errors=frozenset({400}),
    ),
    Route(
        method="GET",
        path="/events/stream",
        handle=stream,
        role=Role.EXPERT,
        query=m.StreamQuery,
        summary="Events as they happen, one JSON object a line",
        media_types=(NDJSON,),
        answers={200: StreamLine | m.HeartbeatLine | m.ClosingLine},
        errors=frozenset({400, 409, 429}),
    ),
)
