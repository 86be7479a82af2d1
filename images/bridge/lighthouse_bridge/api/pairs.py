"""Pairs of agents: ask for a partner, join, suggest, review, end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import talk_messages as m
from ..bounds import check_shape
from ..credentials import Role
from ..exchange import reply
from ..pairs import accept_pair, end_pair, list_pairs, request_pair, review, suggest
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply
    from ..pairs import Pair


async def request(bridge: Bridge, call: Call) -> Reply:
    """Ask for a partner."""
    body: m.PairRequest = call.body
    call.require_agent(body.requester)
    check_shape([body.task], "The task")
    session_id = await bridge.database.write(lambda t: request_pair(t, body.requester, body.task, body.mode))
    return reply(m.PairAnswer(session_id, "pending", body.mode))


async def accept(bridge: Bridge, call: Call) -> Reply:
    """Join a session that waits for a partner."""
    body: m.PairAcceptRequest = call.body
    call.require_agent(body.partner)
    return _stands(await bridge.database.write(lambda t: accept_pair(t, body.session_id, body.partner)))


async def make_suggestion(bridge: Bridge, call: Call) -> Reply:
    """Put a suggestion before the other."""
    body: m.SuggestRequest = call.body
    call.require_agent(body.agent)
    check_shape([body.suggestion], "The suggestion")
    made = await bridge.database.write(lambda t: suggest(t, body.session_id, body.agent, body.suggestion))
    return reply(m.SuggestAnswer(made, "open"))


async def review_suggestion(bridge: Bridge, call: Call) -> Reply:
    """Decide the other's suggestion."""
    body: m.ReviewRequest = call.body
    call.require_agent(body.reviewer)
    check_shape([body.feedback], "The feedback")
    status = await bridge.database.write(
        lambda t: review(t, body.session_id, body.suggestion_id, body.reviewer, body.decision, body.feedback)
    )
    return reply(m.ReviewAnswer(body.suggestion_id, status))  # type: ignore[arg-type]  # statuses are the literal's values


async def end(bridge: Bridge, call: Call) -> Reply:
    """Complete or cancel a session."""
    body: m.PairEndRequest = call.body
    call.require_agent(body.agent)
    return _stands(
        await bridge.database.write(lambda t: end_pair(t, body.session_id, body.agent, body.outcome))
    )


async def listing(bridge: Bridge, call: Call) -> Reply:
    """The agent's own sessions and those it could join; all for operators."""
    query: m.PairQuery = call.query
    agent = None if call.session.role is Role.OPERATOR else call.session.agent_id
    found = await bridge.database.read(lambda c: list_pairs(c, agent, query.status, query.limit))
    return reply(m.PairSessionsAnswer(found, len(found)))


def _stands(pair: Pair) -> Reply:
    return reply(m.PairAnswer(pair.session_id, pair.status, pair.mode))  # type: ignore[arg-type]  # both are the literals' values


ROUTES = (
    Route(
        method="POST",
        path="/pair/request",
        handle=request,
        role=Role.EXPERT,
        body=(m.PairRequest,),
        summary="Ask for a partner",
        answers={200: m.PairAnswer},
        errors=frozenset({403}),
    ),
    Route(
        method="POST",
        path="/pair/accept",
        handle=accept,
        role=Role.EXPERT,
        body=(m.PairAcceptRequest,),
        summary="Join a session that waits for a partner",
        answers={200: m.PairAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="POST",
        path="/pair/suggest",
        handle=make_suggestion,
        role=Role.EXPERT,
        body=(m.SuggestRequest,),
        summary="Put a suggestion before the other",
        answers={200: m.SuggestAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="POST",
        path="/pair/review",
        handle=review_suggestion,
        role=Role.EXPERT,
        body=(m.ReviewRequest,),
        summary="Decide the other's suggestion",
        answers={200: m.ReviewAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="POST",
        path="/pair/end",
        handle=end,
        role=Role.EXPERT,
        body=(m.PairEndRequest,),
        summary="Complete or cancel a session",
        answers={200: m.PairAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="GET",
        path="/pair/sessions",
        handle=listing,
        role=Role.EXPERT,
        query=m.PairQuery,
        summary="Own sessions and those that wait for a partner",
        answers={200: m.PairSessionsAnswer},
    ),
)
