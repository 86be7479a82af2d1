"""Several agents about one objective: a channel of messages that only its members read; in the store."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .events import EventType
from .experts import list_experts
from .problems import Problem
from .talk_messages import Collaboration, CollaborationMessage

if TYPE_CHECKING:
    from .talk_messages import CollaborationRequest
    from .transactions import Connection, Transaction

IDLE_US = 24 * 3600 * 1_000_000
KEPT_US = 30 * 86_400 * 1_000_000
SHOWN = 1000


def start_collaboration(transaction: Transaction, started_by: str, request: CollaborationRequest) -> str:
    """Open a channel for available experts and whoever starts it; raises Problem 404 for an unknown expert and 409
    for one that is busy or offline."""
    known = {one.agent_id: one.status for one in list_experts(transaction.connection, transaction.now_us)}
    for name in request.participants:
        if name == started_by:
            continue
        if name not in known:
            raise Problem(404, f"No expert is called {name!r}; see GET /experts.")
        if known[name] != "available":
            raise Problem(409, f"The expert {name!r} is {known[name]}; try again later.")
    session_id, now = secrets.token_hex(16), transaction.now_us
    members = sorted({started_by, *request.participants})
    transaction.connection.execute(
        "INSERT INTO collaborations VALUES (?,?,?,?,?,?,'active',?,?)",
        (
            session_id,
            started_by,
            msgspec.json.encode(members).decode(),
            request.collaboration_type,
            request.objective,
            msgspec.json.encode(request.metadata).decode(),
            now,
            now,
        ),
    )
    data = {"participants": members, "collaboration_type": request.collaboration_type}
    _append(transaction, started_by, session_id, "collaboration_started", data)
    return session_id


def post_message(transaction: Transaction, session_id: str, agent: str, message: str) -> int:
    """Say something to the members and return its sequence; raises Problem 404 for who is none, 409 after the end."""
    _member(transaction.connection, session_id, agent, active=True)
    sequence = _append(transaction, agent, session_id, "collaboration_message", {})
    transaction.connection.execute(
        "INSERT INTO collaboration_messages VALUES (?,?,?,?,?)",
        (sequence, session_id, agent, message, transaction.now_us),
    )
    transaction.connection.execute(
        "UPDATE collaborations SET updated_us = ? WHERE session_id = ?", (transaction.now_us, session_id)
    )
    return sequence


def end_collaboration(transaction: Transaction, session_id: str, agent: str) -> None:
    """End a channel; ending it twice is harmless. Raises Problem 404."""
    row = _member(transaction.connection, session_id, agent, active=False)
    if row[5] == "active":
        _end(transaction, session_id, agent)


def find_collaboration(
    connection: Connection, session_id: str, agent: str | None, after: int
) -> Collaboration:
    """A channel and its messages after a sequence; raises Problem 404 for who is no member, unless it is None."""
    row = _member(connection, session_id, agent, active=False)
    messages = connection.execute(
        "SELECT sequence, agent, message, created_us FROM collaboration_messages "
        "WHERE session_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
        (session_id, after, SHOWN),
    ).fetchall()
    return Collaboration(
        session_id=session_id,
        started_by=row[0],
        participants=msgspec.json.decode(row[1]),
        collaboration_type=row[2],
        objective=row[3],
        metadata=msgspec.json.decode(row[4]),
        status=row[5],
        created_at=iso(row[6]),
        messages=[CollaborationMessage(one[0], one[1], one[2], iso(one[3])) for one in messages],
    )


def end_idle_collaborations(transaction: Transaction) -> None:
    """End channels in which nobody spoke for a day; forget those of thirty days ago."""
    connection, now = transaction.connection, transaction.now_us
    rows = connection.execute(
        "SELECT session_id, started_by FROM collaborations WHERE status = 'active' AND updated_us <= ?",
        (now - IDLE_US,),
    ).fetchall()
    for session_id, started_by in rows:
        _end(transaction, session_id, started_by)
    old = "SELECT session_id FROM collaborations WHERE updated_us <= ?"
    connection.execute(f"DELETE FROM collaboration_messages WHERE session_id IN ({old})", (now - KEPT_US,))  # noqa: S608 - text of this module
    connection.execute("DELETE FROM collaborations WHERE updated_us <= ?", (now - KEPT_US,))


def _member(connection: Connection, session_id: str, agent: str | None, *, active: bool) -> Any:
    row = connection.execute(
        "SELECT started_by, participants, collaboration_type, objective, metadata, status, created_us "
        "FROM collaborations WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    if row is None or (agent is not None and agent not in msgspec.json.decode(row[1])):
        raise Problem(404, f"You are in no collaboration {session_id[:80]!r}.")
    if active and row[5] != "active":
        raise Problem(409, f"The collaboration {session_id!r} has ended.")
    return row


def _end(transaction: Transaction, session_id: str, agent: str) -> None:
    transaction.connection.execute(
        "UPDATE collaborations SET status = 'ended', updated_us = ? WHERE session_id = ?",
        (transaction.now_us, session_id),
    )
    _append(transaction, agent, session_id, "collaboration_ended", {})


def _append(transaction: Transaction, agent: str, session_id: str, kind: str, data: dict[str, Any]) -> int:
    line = transaction.append(
        EventType.CUSTOM, agent, session_id, {"kind": kind, "session_id": session_id, **data}
    )
    return line.sequence
