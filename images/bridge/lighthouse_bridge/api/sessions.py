"""Sessions: an agent joins with its role's key and gets a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import messages as m
from .. import metrics
from ..bounds import check_shape
from ..clients import client_of
from ..clock import iso
from ..credentials import Role
from ..endpoint import bearer
from ..exchange import reply
from ..problems import Problem
from ..route import Route
from ..sessions import session_expiry

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply


async def create(bridge: Bridge, call: Call) -> Reply:
    """Exchange a join key for a session token of the key's role."""
    body: m.SessionCreateRequest = call.body
    check_shape(body.metadata, "metadata")
    check_shape([body.ip_address, body.user_agent], "The client's description")
    holder = bridge.keys.holder_of(bearer(call).encode())
    if holder is None:
        metrics.violations.labels("wrong_join_key").inc()
        raise Problem(
            401,
            "The join key is missing or unknown; send Authorization: Bearer with the key of your role.",
            (("WWW-Authenticate", "Bearer"),),
        )
    role, key_name = holder
    # A session is bound to where the bridge saw it being opened; what the client says of itself is only kept.
    told = {"ip_address": body.ip_address, "user_agent": body.user_agent}
    metadata = {**body.metadata, "told": told} if any(told.values()) else body.metadata
    client = client_of(call.scope, call.headers, bridge.settings.trusted_proxies)
    session, token = await bridge.sessions.create(body.agent_id, role, key_name, client, metadata)
    return reply(
        m.SessionCreateAnswer(session.session_id, token, session_expiry(session), body.agent_id, role.label)  # type: ignore[arg-type]  # labels are the literal's values
    )


async def validate(bridge: Bridge, call: Call) -> Reply:
    """Whether a token is of a live session of that agent."""
    body: m.SessionValidateRequest = call.body
    session = await bridge.sessions.open(body.session_token)
    valid = (
        session is not None
        and session.agent_id == body.agent_id
        and body.ip_address in {"", session.ip_address}
        and body.user_agent in {"", session.user_agent}
    )
    return reply(m.SessionValidateAnswer(valid))


async def end(bridge: Bridge, call: Call) -> Reply:
    """End the session of the request's own token, or, for an operator, any session."""
    own = call.session
    named = call.body.session_id or own.session_id
    if named != own.session_id and own.role is not Role.OPERATOR:
        raise Problem(403, f"Only an operator ends another's session; the session has {own.role.label!r}.")
    if not await bridge.sessions.end(named, own.agent_id) and named != own.session_id:
        raise Problem(404, f"There is no session {named}; see GET /sessions.")
    return reply(m.SessionEndAnswer(True))


async def listing(bridge: Bridge, _call: Call) -> Reply:
    """Every live session, without its token."""
    found = [
        m.SessionEntry(
            session_id=session.session_id,
            agent_id=session.agent_id,
            role=session.role.label,  # type: ignore[arg-type]  # labels are the literal's values
            created_at=iso(session.created_us),
            last_seen_at=iso(session.last_seen_us),
            expires_at=session_expiry(session),
            ip_address=session.ip_address,
            user_agent=session.user_agent,
        )
        for session in await bridge.sessions.entries()
    ]
    return reply(m.SessionsAnswer(found, len(found)))


ROUTES = (
    Route(
        method="POST",
        path="/session/create",
        handle=create,
        public=True,
        body=(m.SessionCreateRequest,),
        summary="Join with a role's key",
        answers={200: m.SessionCreateAnswer},
        errors=frozenset({401, 503}),
    ),
    Route(
        method="POST",
        path="/session/validate",
        handle=validate,
        role=Role.EXPERT,
        body=(m.SessionValidateRequest,),
        summary="Check a token",
        answers={200: m.SessionValidateAnswer},
    ),
    Route(
        method="POST",
        path="/session/end",
        handle=end,
        role=Role.EXPERT,
        body=(m.SessionEndRequest,),
        body_optional=True,
        summary="End the own session, or another one as an operator",
        answers={200: m.SessionEndAnswer},
        errors=frozenset({403, 404}),
    ),
    Route(
        method="GET",
        path="/sessions",
        handle=listing,
        role=Role.OPERATOR,
        summary="The live sessions",
        answers={200: m.SessionsAnswer},
    ),
)
