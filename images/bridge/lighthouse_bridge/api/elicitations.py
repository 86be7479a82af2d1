"""Questions between agents: signed, answered by the addressee alone, as their schema demands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import metrics
from .. import talk_messages as m
from ..bounds import check_shape
from ..clock import iso, now_us
from ..credentials import Role
from ..elicitations import (
    answer_elicitation,
    count_elicitations,
    create_elicitation,
    fetch_elicitations,
    find_elicitation,
)
from ..exchange import reply
from ..problems import Problem
from ..route import Route
from ..shared import Rate

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply

# Three at once, then evenly: never more than ten and three, or twenty and three, within a minute.
QUESTIONS = Rate(10, 60, 3)
ANSWERS = Rate(20, 60, 3)
# Another bridge may have taken the question: no bell of ours rings for it.
LOOK_SECONDS = 1.0


async def create(bridge: Bridge, call: Call) -> Reply:
    """Ask another agent something."""
    body: m.ElicitRequest = call.body
    call.require_agent(body.from_agent)
    if body.to_agent == body.from_agent:
        raise Problem(400, "An agent cannot ask itself; name another in to_agent.")
    check_shape([body.message, *body.schema.properties, *body.schema.required], "The question")
    for field in body.schema.properties.values():
        check_shape([field.title, field.description, field.enum or []], "The schema")
    await bridge.request_limits.admit_to("elicitations", body.from_agent, QUESTIONS)
    elicitation_id, expires = await bridge.database.write(lambda t: create_elicitation(t, body))
    bridge.bells.ring(body.to_agent)
    return reply(
        m.ElicitAnswer(elicitation_id, "pending", iso(expires), f"{body.to_agent} is asked until then.")
    )


async def pending(bridge: Bridge, call: Call) -> Reply:
    """The open questions to the session's agent, waited for if there is none."""
    query: m.PendingQuery = call.query
    call.require_agent(query.agent_id)
    end = time.monotonic() + query.wait
    with bridge.bells.listen(query.agent_id) as bell:
        while True:
            found = await bridge.database.write(lambda t: fetch_elicitations(t, query.agent_id))
            left = end - time.monotonic()
            if found or left <= 0 or bridge.bells.closing:
                return reply(m.ElicitationsAnswer(found, len(found)))
            await bridge.bells.wait(bell, min(left, LOOK_SECONDS))


async def respond(bridge: Bridge, call: Call) -> Reply:
    """Answer a question."""
    body: m.RespondRequest = call.body
    call.require_agent(body.responding_agent)
    check_shape(body.data or {}, "The answer")
    await bridge.request_limits.admit_to("responses", body.responding_agent, ANSWERS)
    try:
        status = await bridge.database.write(lambda t: answer_elicitation(t, body))
    except Problem as problem:
        if problem.status == 403:
            metrics.violations.labels("wrong_addressee").inc()
        raise
    return reply(m.RespondAnswer(status, f"The question is {status}."))  # type: ignore[arg-type]  # statuses are the literal's values


async def state(bridge: Bridge, call: Call) -> Reply:
    """How a question stands."""
    wanted = call.parameters["id"]
    agent = None if call.session.role is Role.OPERATOR else call.session.agent_id
    return reply(await bridge.database.read(lambda c: find_elicitation(c, wanted, agent, now_us())))


async def counts(bridge: Bridge, _call: Call) -> Reply:
    """How questions fare, and what was refused."""
    found = await bridge.database.read(lambda connection: count_elicitations(connection, now_us()))
    return reply(m.ElicitationMetrics(**found, refused=metrics.violation_counts()))


ROUTES = (
    Route(
        method="POST",
        path="/elicitation/create",
        handle=create,
        role=Role.EXPERT,
        signed=True,
        body=(m.ElicitRequest,),
        summary="Ask another agent",
        answers={200: m.ElicitAnswer},
        errors=frozenset({403, 409}),
    ),
    Route(
        method="GET",
        path="/elicitation/pending",
        handle=pending,
        role=Role.EXPERT,
        query=m.PendingQuery,
        summary="The open questions to the session's agent, waited for up to 30 s",
        answers={200: m.ElicitationsAnswer},
        errors=frozenset({403}),
    ),
    Route(
        method="POST",
        path="/elicitation/respond",
        handle=respond,
        role=Role.EXPERT,
        signed=True,
        body=(m.RespondRequest,),
        summary="Answer a question",
        answers={200: m.RespondAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="GET",
        path="/elicitation/status/{id}",
        handle=state,
        role=Role.EXPERT,
        summary="How a question stands",
        answers={200: m.ElicitationState},
        errors=frozenset({404}),
    ),
    Route(
        method="GET",
        path="/elicitation/metrics",
        handle=counts,
        role=Role.EXPERT,
        summary="How questions fare",
        answers={200: m.ElicitationMetrics},
    ),
)
