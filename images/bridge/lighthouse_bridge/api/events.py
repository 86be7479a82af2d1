"""Events: stored and queried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import messages as m
from ..bounds import check_shape
from ..clock import parse_iso
from ..credentials import Role
from ..events import RESERVED, StreamLine, read_line
from ..exchange import reply
from ..problems import Problem
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..database import Connection, Transaction
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
    clauses = ["1 = 1"]
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

    def work(connection: Connection) -> list[StreamLine]:
        rows = connection.execute(statement, (*values, q.limit)).fetchall()
        return [read_line(sequence, data) for sequence, data in reversed(rows)]

    events = await bridge.database.read(work)
    return reply(m.EventQueryAnswer(events, len(events), f"{len(events)} events."))


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
)
