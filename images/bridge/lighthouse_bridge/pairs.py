"""Two agents on one task: one asks, another joins, they suggest and review; in the store."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from .clock import iso
from .events import EventType
from .problems import Problem
from .talk_messages import PairSession, Suggestion

if TYPE_CHECKING:
    from .transactions import Connection, Transaction

IDLE_US = 24 * 3600 * 1_000_000
KEPT_US = 30 * 86_400 * 1_000_000
# Who suggests: a passive or active partner advises the requester, a reviewing one looks at its work.
SUGGESTS = {
    "passive": ("partner",),
    "active": ("partner",),
    "collaborative": ("requester", "partner"),
    "review": ("requester",),
}
REVIEWED = {"approve": "approved", "reject": "rejected", "modify": "modified"}


class Pair(msgspec.Struct, frozen=True):
    """A row of pair_sessions; `status` is pending, active, completed or cancelled."""

    session_id: str
    requester: str
    partner: str | None
    task: str
    mode: str
    status: str
    created_us: int
    updated_us: int


_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Pair))


def request_pair(transaction: Transaction, requester: str, task: str, mode: str) -> str:
    """Ask for a partner; returns the session's id."""
    session_id, now = secrets.token_hex(16), transaction.now_us
    transaction.connection.execute(
        f"INSERT INTO pair_sessions ({_COLUMNS}) VALUES (?,?,NULL,?,?,'pending',?,?)",  # noqa: S608 - names of this module
        (session_id, requester, task, mode, now, now),
    )
    data = {"kind": "pair_requested", "session_id": session_id, "mode": mode, "task": task}
    transaction.append(EventType.CUSTOM, requester, session_id, data)
    return session_id


def accept_pair(transaction: Transaction, session_id: str, partner: str) -> Pair:
    """Join a session that waits for a partner; raises Problem 404, 403 for the requester, 409 when it is not open."""
    pair = _find(transaction, session_id)
    if partner == pair.requester:
        raise Problem(403, f"The agent {partner!r} cannot be its own partner.")
    if pair.status != "pending":
        raise Problem(
            409, f"The pair session {session_id!r} is {pair.status}; only a pending one can be joined."
        )
    transaction.connection.execute(
        "UPDATE pair_sessions SET partner = ?, status = 'active', updated_us = ? WHERE session_id = ?",
        (partner, transaction.now_us, session_id),
    )
    data = {"session_id": session_id, "requester": pair.requester, "partner": partner, "mode": pair.mode}
    transaction.append(EventType.PAIR_SESSION_STARTED, partner, session_id, data)
    return msgspec.structs.replace(pair, partner=partner, status="active")


def suggest(transaction: Transaction, session_id: str, agent: str, suggestion: str) -> str:
    """Put a suggestion before the other; returns its id. Raises Problem 404, 403 for whom the mode gives no such
    part, and 409 when the session is not active."""
    pair = _active(transaction, session_id, agent)
    part = "requester" if agent == pair.requester else "partner"
    if part not in SUGGESTS[pair.mode]:
        raise Problem(403, f"In the mode {pair.mode!r} the {part} does not suggest.")
    suggestion_id = secrets.token_hex(16)
    transaction.connection.execute(
        "INSERT INTO pair_suggestions VALUES (?,?,?,?,'open',NULL,'',?)",
        (suggestion_id, session_id, agent, suggestion, transaction.now_us),
    )
    data = {"session_id": session_id, "suggestion_id": suggestion_id, "suggestion": suggestion}
    transaction.append(EventType.PAIR_SUGGESTION_MADE, agent, session_id, data)
    _touch(transaction, session_id)
    return suggestion_id


def review(
    transaction: Transaction, session_id: str, suggestion_id: str, reviewer: str, decision: str, feedback: str
) -> str:
    """Decide the other's suggestion and return its status; raises Problem 404, 403 for the own one, 409 when it is
    decided or the session is not active."""
    _active(transaction, session_id, reviewer)
    row = transaction.connection.execute(
        "SELECT agent, status FROM pair_suggestions WHERE suggestion_id = ? AND session_id = ?",
        (suggestion_id, session_id),
    ).fetchone()
    if row is None:
        raise Problem(404, f"The pair session {session_id!r} has no suggestion {suggestion_id!r}.")
    if row[0] == reviewer:
        raise Problem(403, "A suggestion is reviewed by the other agent of the pair.")
    if row[1] != "open":
        raise Problem(409, f"The suggestion {suggestion_id!r} is {row[1]} already.")
    status = REVIEWED[decision]
    transaction.connection.execute(
        "UPDATE pair_suggestions SET status = ?, reviewer = ?, feedback = ? WHERE suggestion_id = ?",
        (status, reviewer, feedback, suggestion_id),
    )
    rejected = decision == "reject"
    transaction.append(
        EventType.PAIR_SUGGESTION_REJECTED if rejected else EventType.PAIR_SUGGESTION_ACCEPTED,
        reviewer,
        session_id,
        {
            "session_id": session_id,
            "suggestion_id": suggestion_id,
            "decision": decision,
            "feedback": feedback,
        },
    )
    _touch(transaction, session_id)
    return status


def end_pair(transaction: Transaction, session_id: str, agent: str, outcome: str) -> Pair:
    """End a session; one that nobody joined can only be cancelled. Raises Problem 403, 404 or 409."""
    pair = _member(transaction, session_id, agent)
    if pair.status not in {"pending", "active"} or (pair.status == "pending" and outcome == "completed"):
        raise Problem(409, f"The pair session {session_id!r} is {pair.status}; it cannot be {outcome}.")
    return _end(transaction, pair, agent, outcome)


def list_pairs(
    connection: Connection, agent: str | None, status: str | None, limit: int
) -> list[PairSession]:
    """Sessions, the latest first: an agent's own and those it could join, or all when `agent` is None."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM pair_sessions WHERE (:agent = '' OR requester = :agent OR partner = :agent "  # noqa: S608 - names of this module
        "OR status = 'pending') AND (:status = '' OR status = :status) "
        "ORDER BY created_us DESC, session_id LIMIT :limit",
        {"agent": agent or "", "status": status or "", "limit": limit},
    ).fetchall()
    return [_shown(connection, Pair(*row)) for row in rows]


def cancel_idle_pairs(transaction: Transaction) -> None:
    """Cancel sessions in which nothing happened for a day; forget those that ended thirty days ago."""
    connection, now = transaction.connection, transaction.now_us
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM pair_sessions WHERE status IN ('pending', 'active') AND updated_us <= ?",  # noqa: S608 - names of this module
        (now - IDLE_US,),
    ).fetchall()
    for row in rows:
        pair = Pair(*row)
        _end(transaction, pair, pair.requester, "cancelled")
    old = "SELECT session_id FROM pair_sessions WHERE updated_us <= ?"
    connection.execute(f"DELETE FROM pair_suggestions WHERE session_id IN ({old})", (now - KEPT_US,))  # noqa: S608 - text of this module
    connection.execute("DELETE FROM pair_sessions WHERE updated_us <= ?", (now - KEPT_US,))


def _find(transaction: Transaction, session_id: str) -> Pair:
    row = transaction.connection.execute(
        f"SELECT {_COLUMNS} FROM pair_sessions WHERE session_id = ?",  # noqa: S608 - names of this module
        (session_id,),
    ).fetchone()
    if row is None:
        raise Problem(404, f"There is no pair session {session_id!r}.")
    return Pair(*row)


def _member(transaction: Transaction, session_id: str, agent: str) -> Pair:
    pair = _find(transaction, session_id)
    if agent not in {pair.requester, pair.partner}:
        raise Problem(403, f"The agent {agent!r} is not of the pair session {session_id!r}.")
    return pair


def _active(transaction: Transaction, session_id: str, agent: str) -> Pair:
    pair = _member(transaction, session_id, agent)
    if pair.status != "active":
        raise Problem(409, f"The pair session {session_id!r} is {pair.status}, not active.")
    return pair


def _touch(transaction: Transaction, session_id: str) -> None:
    transaction.connection.execute(
        "UPDATE pair_sessions SET updated_us = ? WHERE session_id = ?", (transaction.now_us, session_id)
    )


def _end(transaction: Transaction, pair: Pair, agent: str, outcome: str) -> Pair:
    transaction.connection.execute(
        "UPDATE pair_sessions SET status = ?, updated_us = ? WHERE session_id = ?",
        (outcome, transaction.now_us, pair.session_id),
    )
    data = {"session_id": pair.session_id, "outcome": outcome}
    transaction.append(EventType.PAIR_SESSION_ENDED, agent, pair.session_id, data)
    return msgspec.structs.replace(pair, status=outcome)


def _shown(connection: Connection, pair: Pair) -> PairSession:
    rows = connection.execute(
        "SELECT suggestion_id, agent, suggestion, status, reviewer, feedback, created_us FROM pair_suggestions "
        "WHERE session_id = ? ORDER BY created_us, suggestion_id",
        (pair.session_id,),
    ).fetchall()
    return PairSession(
        session_id=pair.session_id,
        requester=pair.requester,
        partner=pair.partner,
        task=pair.task,
        mode=pair.mode,  # type: ignore[arg-type]  # modes are the literal's values
        status=pair.status,  # type: ignore[arg-type]  # statuses are the literal's values
        created_at=iso(pair.created_us),
        updated_at=iso(pair.updated_us),
        suggestions=[Suggestion(row[0], row[1], row[2], row[3], row[4], row[5], iso(row[6])) for row in rows],
    )
