"""Experts register, give signs of life and are listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import messages as m
from ..bounds import check_shape
from ..clock import iso, now_us
from ..credentials import Role
from ..endpoint import bearer
from ..exchange import reply
from ..experts import list_experts, register_expert, renew_expert
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply


async def register(bridge: Bridge, call: Call) -> Reply:
    """Register the session's agent as an expert; its session token serves as the expert's token."""
    body: m.ExpertRegisterRequest = call.body
    call.require_agent(body.agent_id)
    check_shape([body.agent_type, body.capabilities, body.metadata], "The registration")
    await bridge.database.write(
        lambda t: register_expert(t, body.agent_id, body.agent_type, body.capabilities, body.metadata)
    )
    return reply(m.ExpertRegisterAnswer(True, f"{body.agent_id} is registered.", bearer(call), body.agent_id))


async def heartbeat(bridge: Bridge, call: Call) -> Reply:
    """Keep an expert available."""
    body: m.ExpertHeartbeatRequest = call.body
    call.require_agent(body.agent_id)
    expires = await bridge.database.write(lambda t: renew_expert(t, body.agent_id))
    return reply(m.ExpertHeartbeatAnswer("available", iso(expires)))


async def listing(bridge: Bridge, _call: Call) -> Reply:
    """The experts the bridge knows."""
    experts = await bridge.database.read(lambda connection: list_experts(connection, now_us()))
    return reply(m.ExpertsAnswer(experts, len(experts)))


ROUTES = (
    Route(
        method="POST",
        path="/expert/register",
        handle=register,
        role=Role.EXPERT,
        body=(m.ExpertRegisterRequest,),
        summary="Register as an expert",
        answers={200: m.ExpertRegisterAnswer},
        errors=frozenset({403}),
    ),
    Route(
        method="POST",
        path="/expert/heartbeat",
        handle=heartbeat,
        role=Role.EXPERT,
        body=(m.ExpertHeartbeatRequest,),
        summary="Stay available",
        answers={200: m.ExpertHeartbeatAnswer},
        errors=frozenset({403, 404}),
    ),
    Route(
        method="GET",
        path="/experts",
        handle=listing,
        role=Role.EXPERT,
        summary="The known experts",
        answers={200: m.ExpertsAnswer},
    ),
)
