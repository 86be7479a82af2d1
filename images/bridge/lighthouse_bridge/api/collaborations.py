"""Collaborations: a channel of messages for several agents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import talk_messages as m
from ..bounds import check_shape
from ..collaborations import end_collaboration, find_collaboration, post_message, start_collaboration
from ..credentials import Role
from ..exchange import reply
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply


async def start(bridge: Bridge, call: Call) -> Reply:
    """Open a channel with available experts."""
    body: m.CollaborationRequest = call.body
    check_shape([body.collaboration_type, body.objective], "The collaboration")
    check_shape(body.metadata, "metadata")
    own = call.session.agent_id
    session_id = await bridge.database.write(lambda t: start_collaboration(t, own, body))
    return reply(
        m.CollaborationAnswer(session_id, "started", f"{own} started it.", sorted({own, *body.participants}))
    )


async def post(bridge: Bridge, call: Call) -> Reply:
    """Say something to the members."""
    body: m.PostRequest = call.body
    check_shape([body.message], "The message")
    own = call.session.agent_id
    return reply(
        m.PostAnswer(
            await bridge.database.write(lambda t: post_message(t, body.session_id, own, body.message))
        )
    )


async def end(bridge: Bridge, call: Call) -> Reply:
    """End a channel."""
    body: m.CollaborationEndRequest = call.body
    own = call.session.agent_id
    await bridge.database.write(lambda t: end_collaboration(t, body.session_id, own))
    return reply(m.CollaborationEndAnswer(body.session_id, "ended"))


async def read(bridge: Bridge, call: Call) -> Reply:
    """A channel and what was said in it."""
    wanted, after = call.parameters["id"], call.query.after
    agent = None if call.session.role is Role.OPERATOR else call.session.agent_id
    return reply(await bridge.database.read(lambda c: find_collaboration(c, wanted, agent, after)))


ROUTES = (
    Route(
        method="POST",
        path="/collaboration/start",
        handle=start,
        role=Role.EXPERT,
        body=(m.CollaborationRequest,),
        summary="Open a channel with available experts",
        answers={200: m.CollaborationAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="POST",
        path="/collaboration/message",
        handle=post,
        role=Role.EXPERT,
        body=(m.PostRequest,),
        summary="Say something to the members",
        answers={200: m.PostAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="POST",
        path="/collaboration/end",
        handle=end,
        role=Role.EXPERT,
        body=(m.CollaborationEndRequest,),
        summary="End a channel",
        answers={200: m.CollaborationEndAnswer},
        errors=frozenset({404}),
    ),
    Route(
        method="GET",
        path="/collaboration/{id}",
        handle=read,
        role=Role.EXPERT,
        query=m.CollaborationQuery,
        summary="A channel and its messages",
        answers={200: m.Collaboration},
        errors=frozenset({404}),
    ),
)
