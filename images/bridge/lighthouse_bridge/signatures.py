"""Signed messages: what a thief who overheard one request cannot send again, or change.

A signature is `nonce:unix:hmac`: 32 hex digits that are used once, whole seconds since the epoch, and the
HMAC-SHA-256, keyed by the session token, over agent, nonce, seconds, method, path and the body's SHA-256.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from .transactions import Transaction

HEADER = "x-lighthouse-signature"
# How far the clocks of agent and bridge may differ, in seconds.
TOLERANCE_SECONDS = 300
# A nonce is remembered for as long as any bridge could still take a signature with it, whose clock may be off from
# the store's by as much again.
NONCE_US = 4 * TOLERANCE_SECONDS * 1_000_000
PATTERN = r"^[0-9a-f]{32}:[0-9]{1,12}:[0-9a-f]{64}$"
_FORM = re.compile(PATTERN, re.ASCII)


def sign(token: str, agent_id: str, method: str, path: str, body: bytes, nonce: str, unix: int) -> str:
    """The signature of a message."""
    digest = hashlib.sha256(body).hexdigest()
    message = "\n".join((agent_id, nonce, str(unix), method, path, digest))
    mac = hmac.new(token.encode(), message.encode(), hashlib.sha256).hexdigest()
    return f"{nonce}:{unix}:{mac}"


def check(
    signature: str,
    token: str,
    message: tuple[str, str, str, bytes],
    now: float,
    violated: Callable[[str], None],
) -> str:
    """The nonce of a signature that holds for (agent, method, path, body); raises Problem 401.

    `violated` is told the kind of a signature that was forged or is out of time.
    """
    if not _FORM.fullmatch(signature):
        raise Problem(
            401, "The message is not signed; send X-Lighthouse-Signature as the API's description says."
        )
    nonce, unix, _mac = signature.split(":")
    agent_id, method, path, body = message
    expected = sign(token, agent_id, method, path, body, nonce, int(unix))
    if not hmac.compare_digest(expected, signature):
        violated("forged_signature")
        raise Problem(
            401, "The signature is not of this message and session; sign it with the session token."
        )
    if abs(now - int(unix)) > TOLERANCE_SECONDS:
        violated("stale_signature")
        raise Problem(
            401,
            f"The signature is {abs(now - int(unix)):.0f} s off the bridge's clock; at most "
            f"{TOLERANCE_SECONDS} s are tolerated: set the clock, then sign again.",
        )
    return nonce


def use_nonce(transaction: Transaction, session_id: str, nonce: str) -> bool:
    """Whether this session uses the nonce for the first time. Kept in the store, it is remembered over restarts of
    everything."""
    connection, now = transaction.connection, transaction.now_us
    connection.execute("DELETE FROM nonces WHERE expires_us <= ?", (now,))
    used = connection.execute(
        "INSERT INTO nonces (session_id, nonce, expires_us) VALUES (?,?,?) ON CONFLICT DO NOTHING",
        (session_id, nonce, now + NONCE_US),
    )
    return used.rowcount == 1
