"""Events: stored, queried and verified."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import msgspec

from .. import event_messages as m
from ..bounds import check_shape
from ..chain import Head
from ..clock import iso, parse_iso
from ..credentials import Role
from ..event_queries import Filters, Found, find_events, index_page
from ..event_stats import read_stats
from ..events import RESERVED, EventType, StreamLine
from ..exchange import reply
from ..kept_head import check_end, sign_head
from ..problems import Problem, StoreUnavailableError
from ..route import MIB, Route
from ..verification import Page, stored_head, verify_page

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply
    from ..transactions import Connection, Transaction

MAX_BATCH_BYTES = 10 * MIB
_MAX_KEY = 200
# A search that finds many events unindexed gives up in time, and the next one goes on from there.
_INDEX_SECONDS = 10.0


async def store(bridge: Bridge, call: Call) -> Reply:
    """Append one event of the caller's own."""
    body: m.EventStoreRequest = call.body
    (line,) = await _append(bridge, call, [body])
    return reply(m.EventStoreAnswer(line.event_id, "stored", f"Stored as {line.sequence}.", line.sequence))


async def add(bridge: Bridge, call: Call) -> Reply:
    """The same by its shorter path."""
    return await store(bridge, call)


async def add_batch(bridge: Bridge, call: Call) -> Reply:
    """Append events of the caller's own, all or none."""
    body: m.EventBatchRequest = call.body
    lines = await _append(bridge, call, body.events)
    sequences = [line.sequence for line in lines]
    return reply(
        m.EventBatchAnswer(
            "stored", len(lines), min(sequences), max(sequences), [line.event_id for line in lines]
        )
    )


async def _append(bridge: Bridge, call: Call, events: list[m.EventStoreRequest]) -> list[StreamLine]:
    agent_id = call.session.agent_id
    key = _idempotency_key(call)
    for event in events:
        check_shape(event.data, "data")
        check_shape(event.metadata, "metadata")
        check_shape([event.aggregate_id, event.aggregate_type], "The aggregate")
        if event.event_type in RESERVED:
            raise Problem(400, f"Events of type {event.event_type.value!r} are made by the bridge alone.")
        if event.event_id is not None and key:
            raise Problem(400, "The request has an Idempotency-Key and an event_id; send one of them.")
        if event.agent_id is not None:
            call.require_agent(event.agent_id)

    def work(transaction: Transaction) -> list[StreamLine]:
        lines = []
        for position, event in enumerate(events):
            metadata = dict(event.metadata)
            if event.aggregate_type is not None:
                metadata["aggregate_type"] = event.aggregate_type
            event_id = event.event_id
            if key:
                named = hashlib.sha256(f"{agent_id}\0{key}\0{position}".encode()).hexdigest()
                event_id = f"key-{named[:40]}"
            lines.append(
                transaction.append(
                    event.event_type,
                    agent_id,
                    event.aggregate_id,
                    event.data,
                    metadata,
                    event_id=event_id,
                    expected_version=event.expected_version,
                )
            )
        return lines

    return await bridge.database.write(work)


def _idempotency_key(call: Call) -> str:
    key = call.header("idempotency-key")
    if len(key) > _MAX_KEY:
        raise Problem(400, f"The Idempotency-Key has {len(key)} characters; at most {_MAX_KEY} are allowed.")
    return key


async def query(bridge: Bridge, call: Call) -> Reply:
    """The latest events that pass the filters, in order."""
    q: m.EventQuery = call.query
    filters = Filters(
        types=(q.event_type.value,) if q.event_type is not None else (),
        agents=(q.agent_id,) if q.agent_id is not None else (),
        start_us=_time("start_time", q.start_time),
        end_us=_time("end_time", q.end_time),
    )
    found = await _find(bridge, filters, "sequence", q.limit, descending=True)
    count = len(found.events)
    cut = count < q.limit and found.more
    said = f"{count} events." + (
        " Earlier ones are too large for one answer; ask GET /events for them." if cut else ""
    )
    return reply(m.EventQueryAnswer(found.events[::-1], count, said))


async def find(bridge: Bridge, call: Call) -> Reply:
    """Events that pass every filter, by sequence or by time."""
    q: m.EventsQuery = call.query
    types = _parts(q.types)
    for name in set(types) - {kind.value for kind in EventType}:
        raise Problem(400, f"{name[:80]!r} is not an event type; leave 'types' out to see all.")
    filters = Filters(
        types=types,
        aggregates=_parts(q.aggregates),
        agents=_parts(q.agents),
        after_sequence=q.after,
        until_sequence=q.until,
        start_us=_time("start_time", q.start_time),
        end_us=_time("end_time", q.end_time),
        correlation=q.correlation_id,
        text=q.text,
    )
    if q.text is not None:
        await _index(bridge)
    found = await _find(bridge, filters, q.order, q.limit, descending=q.direction == "descending")
    return reply(m.EventsAnswer(found.events, len(found.events), found.more))


async def _index(bridge: Bridge) -> None:
    """Bring the full-text index up to the last event: what came since the bridge indexed last."""
    dialect = bridge.database.DIALECT
    end = time.monotonic() + _INDEX_SECONDS
    while await bridge.database.write(lambda transaction: index_page(transaction, dialect)):
        if time.monotonic() > end:
            raise StoreUnavailableError("older events are still being indexed for search; ask again")


async def _find(bridge: Bridge, filters: Filters, order: str, limit: int, *, descending: bool) -> Found:
    dialect = bridge.database.DIALECT
    return await bridge.database.read(
        lambda connection: find_events(
            connection, filters, order, limit, descending=descending, dialect=dialect
        ),
        told=_told(filters),
    )


def _told(filters: Filters) -> int | None:
    """The last event that the caller must have heard of; None where only the primary knows the answer."""
    # The index of words is written on the primary, for this search.
    if filters.text is not None:
        return None
    return max(filters.after_sequence or 0, filters.until_sequence or 0)


async def head(bridge: Bridge, call: Call) -> Reply:
    """Where the store ends, or how it stood after an event, signed."""
    q: m.HeadQuery = call.query
    found = await bridge.database.read(lambda connection: stored_head(connection, q.sequence))
    if found is None:
        raise Problem(404, f"There is no event {q.sequence}: it never was, or it was removed.")
    signature, *earlier = [sign_head(key, found) for key in bridge.auth_keys.verifying()]
    return reply(m.EventHead(found.sequence, found.hash.hex(), signature, earlier))


async def verify(bridge: Bridge, call: Call) -> Reply:
    """Check a page of the hash chain after an event whose hash is known."""
    q: m.VerifyQuery = call.query
    start = Head(q.after, 0, bytes.fromhex(q.hash))
    keys, told = bridge.auth_keys.verifying(), bridge.database.last_sequence

    def work(connection: Connection) -> Page:
        page = verify_page(connection, start, q.limit)
        if page.more:
            return page
        return msgspec.structs.replace(page, problems=page.problems + check_end(connection, keys, told))

    page = await bridge.database.read(work)
    return reply(
        m.VerifyAnswer(
            page.head.sequence,
            page.head.hash.hex(),
            page.count,
            [list(gap) for gap in page.gaps],
            page.problems,
            page.more,
        )
    )


async def stats(bridge: Bridge, _call: Call) -> Reply:
    """How many events there are, of which types, from when."""

    def work(connection: Connection) -> m.EventStats:
        found = read_stats(connection)
        return m.EventStats(
            events=found.events,
            first_sequence=found.first_sequence,
            last_sequence=found.last_sequence,
            missing_sequences=found.missing,
            first_timestamp=None if found.first_us is None else iso(found.first_us),
            last_timestamp=None if found.last_us is None else iso(found.last_us),
            types=found.types,
            agents=found.agents,
            aggregates=found.aggregates,
        )

    return reply(await bridge.database.read(work, snapshot=True, told=0))


def read_time(name: str, text: str) -> int:
    """Microseconds since the epoch of a query's time; raises Problem 400 naming the parameter."""
    try:
        return parse_iso(text)
    except (ValueError, OverflowError):
        raise Problem(400, f"{name} is {text!r}; write a time as 2026-01-31T12:00:00Z.") from None


def _time(name: str, text: str | None) -> int | None:
    return None if text is None else read_time(name, text)


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


ROUTES = (
    Route(
        method="POST",
        path="/event/store",
        handle=store,
        role=Role.BUILDER,
        body=(m.EventStoreRequest,),
        summary="Append an event",
        answers={200: m.EventStoreAnswer},
        errors=frozenset({409}),
    ),
    Route(
        method="POST",
        path="/events",
        handle=add,
        role=Role.BUILDER,
        body=(m.EventStoreRequest,),
        summary="Append an event; repeat it safely with an event_id or an Idempotency-Key header",
        answers={200: m.EventStoreAnswer},
        errors=frozenset({409}),
    ),
    Route(
        method="POST",
        path="/events/batch",
        handle=add_batch,
        role=Role.BUILDER,
        body=(m.EventBatchRequest,),
        body_limit=MAX_BATCH_BYTES,
        summary="Append up to 1,000 events, all or none",
        answers={200: m.EventBatchAnswer},
        errors=frozenset({409}),
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
        path="/events",
        handle=find,
        role=Role.EXPERT,
        query=m.EventsQuery,
        summary="Events by type, aggregate, agent, sequence, time, correlation and words",
        answers={200: m.EventsAnswer},
        errors=frozenset({400}),
    ),
    Route(
        method="GET",
        path="/events/head",
        handle=head,
        role=Role.EXPERT,
        query=m.HeadQuery,
        summary="The last event's sequence and hash, signed",
        answers={200: m.EventHead},
        errors=frozenset({404}),
    ),
    Route(
        method="GET",
        path="/events/verify",
        handle=verify,
        role=Role.OPERATOR,
        query=m.VerifyQuery,
        summary="Check a page of the hash chain",
        answers={200: m.VerifyAnswer},
    ),
    Route(
        method="GET",
        path="/events/stats",
        handle=stats,
        role=Role.EXPERT,
        summary="Counts of events",
        answers={200: m.EventStats},
    ),
)
