"""The way in for every request and socket: whose session it is, from where, and how often."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from . import metrics
from .clients import client_of
from .exchange import bearer_of
from .problems import Problem
from .signatures import HEADER, check, use_nonce

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .bridge import Bridge
    from .exchange import Call
    from .sessions import Session

_CHALLENGE = (("WWW-Authenticate", "Bearer"),)


async def enter(
    bridge: Bridge,
    scope: Mapping[str, Any],
    headers: Mapping[bytes, bytes],
    *,
    counted: bool = True,
    socket: bool = False,
) -> Session:
    """The live session of a request's token; raises Problem 401, or 429 when its agent asks too much.

    A socket may have another user agent: an agent's libraries for HTTP and sockets each give their own.
    """
    token = bearer_of(headers)
    session = await bridge.sessions.open(token) if token else None
    if session is None:
        wrong = "is not of a live session" if token else "is missing"
        raise Problem(
            401,
            f"The session token {wrong}; send Authorization: Bearer with one from POST /session/create.",
            _CHALLENGE,
        )
    moved = session.moved(client_of(scope, headers, bridge.settings.trusted_proxies))
    if moved and not (socket and moved == "user agent"):
        metrics.violations.labels("moved_session").inc()
        raise Problem(
            401,
            f"The session was opened from another {moved}; create one for this with POST /session/create.",
            _CHALLENGE,
        )
    if counted:
        await bridge.request_limits.admit(session.agent_id, session.role)
    return session


async def require_signature(bridge: Bridge, call: Call) -> None:
    """Raise Problem 401 unless the message is signed by its session, in time, and new."""
    session = call.session
    message = (session.agent_id, call.scope["method"], call.scope["path"], call.raw_body)
    nonce = check(
        call.header(HEADER),
        bearer_of(call.headers),
        message,
        time.time(),
        lambda kind: metrics.violations.labels(kind).inc(),
    )
    fresh = await bridge.database.write(lambda t: use_nonce(t, session.session_id, nonce))
    if not fresh:
        metrics.violations.labels("replayed_message").inc()
        raise Problem(401, "The message was sent before; sign each message with a nonce of its own.")
