"""Questions from one agent to another, in the store; who stays silent has not answered."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .events import EventType
from .forms import check_data, check_form
from .problems import Problem
from .talk_messages import Elicitation, ElicitationState, Form

if TYPE_CHECKING:
    from .talk_messages import ElicitRequest, RespondRequest
    from .transactions import Connection, Transaction

DAY_US = 86_400 * 1_000_000
KEPT_US = 30 * DAY_US
# Questions that one agent may have open, so that nobody is buried under them.
OPEN_PER_ADDRESSEE = 100
STATUS = {"accept": "accepted", "decline": "declined", "cancel": "cancelled"}
_decode_form = msgspec.json.Decoder(Form).decode


def create_elicitation(transaction: Transaction, request: ElicitRequest) -> tuple[str, int]:
    """Put a question before an agent; returns its id and when it expires, in microseconds. Raises Problem 400 for
    an unusable schema and 409 when the addressee has too many open questions."""
    check_form(request.schema)
    now = transaction.now_us
    waiting = transaction.connection.execute(
        "SELECT count(*) FROM elicitations WHERE to_agent = ? AND status = 'pending' AND expires_us > ?",
        (request.to_agent, now),
    ).fetchone()
    if waiting[0] >= OPEN_PER_ADDRESSEE:
        raise Problem(
            409, f"The agent {request.to_agent!r} has {OPEN_PER_ADDRESSEE} open questions; ask again later."
        )
    elicitation_id = secrets.token_hex(16)
    expires = now + int(request.timeout_seconds * 1_000_000)
    transaction.connection.execute(
        "INSERT INTO elicitations (elicitation_id, from_agent, to_agent, message, form, created_us, expires_us, "
        "status) VALUES (?,?,?,?,?,?,?,'pending')",
        (
            elicitation_id,
            request.from_agent,
            request.to_agent,
            request.message,
            msgspec.json.encode(request.schema).decode(),
            now,
            expires,
        ),
    )
    _append(transaction, request.from_agent, elicitation_id, "elicitation_created", to_agent=request.to_agent)
    return elicitation_id, expires


def fetch_elicitations(transaction: Transaction, agent_id: str) -> list[Elicitation]:
    """The open questions to an agent, oldest first; they count as delivered from now on."""
    now = transaction.now_us
    rows = transaction.connection.execute(
        "SELECT elicitation_id, from_agent, message, form, created_us, expires_us FROM elicitations "
        "WHERE to_agent = ? AND status = 'pending' AND expires_us > ? ORDER BY created_us, elicitation_id",
        (agent_id, now),
    ).fetchall()
    transaction.connection.execute(
        "UPDATE elicitations SET delivered_us = ? WHERE to_agent = ? AND status = 'pending' "
        "AND expires_us > ? AND delivered_us IS NULL",
        (now, agent_id, now),
    )
    return [
        Elicitation(row[0], row[1], row[2], msgspec.json.decode(row[3]), iso(row[4]), iso(row[5]))
        for row in rows
    ]


def answer_elicitation(transaction: Transaction, request: RespondRequest) -> str:
    """Take the addressee's answer and return the question's status; raises Problem 404, 403 for anybody else, 409
    when it is answered or out of time, and 400 for an answer that is not as the schema demands."""
    row = transaction.connection.execute(
        "SELECT from_agent, to_agent, form, expires_us, status FROM elicitations WHERE elicitation_id = ?",
        (request.elicitation_id,),
    ).fetchone()
    if row is None:
        raise Problem(404, f"There is no elicitation {request.elicitation_id!r}.")
    if row[1] != request.responding_agent:
        raise Problem(403, f"Only its addressee may answer the elicitation {request.elicitation_id!r}.")
    if row[4] != "pending":
        raise Problem(409, f"The elicitation {request.elicitation_id!r} is {row[4]} already.")
    if row[3] <= transaction.now_us:
        raise Problem(409, f"The elicitation {request.elicitation_id!r} expired at {iso(row[3])}.")
    if (request.response_type == "accept") != (request.data is not None):
        raise Problem(400, "An answer that accepts has data, and no other has.")
    if request.data is not None:
        check_data(_decode_form(row[2]), request.data)
    status = STATUS[request.response_type]
    transaction.connection.execute(
        "UPDATE elicitations SET status = ?, data = ?, responded_us = ? WHERE elicitation_id = ?",
        (
            status,
            None if request.data is None else msgspec.json.encode(request.data).decode(),
            transaction.now_us,
            request.elicitation_id,
        ),
    )
    _append(
        transaction,
        request.responding_agent,
        request.elicitation_id,
        "elicitation_answered",
        to_agent=row[0],
        status=status,
    )
    return status


def find_elicitation(
    connection: Connection, elicitation_id: str, agent_id: str | None, now: int
) -> ElicitationState:
    """How a question stands; raises Problem 404 when `agent_id` is given and neither asked it nor is asked."""
    row = connection.execute(
        "SELECT from_agent, to_agent, status, delivered_us, created_us, expires_us, responded_us, data "
        "FROM elicitations WHERE elicitation_id = ?",
        (elicitation_id,),
    ).fetchone()
    if row is None or (agent_id is not None and agent_id not in row[:2]):
        raise Problem(404, f"There is no elicitation {elicitation_id[:80]!r} of yours.")
    return ElicitationState(
        elicitation_id=elicitation_id,
        from_agent=row[0],
        to_agent=row[1],
        status="expired" if row[2] == "pending" and row[5] <= now else row[2],
        delivered=row[3] is not None,
        created_at=iso(row[4]),
        expires_at=iso(row[5]),
        responded_at=None if row[6] is None else iso(row[6]),
        data=None if row[7] is None else msgspec.json.decode(row[7]),
    )


def count_elicitations(connection: Connection, now: int) -> dict[str, Any]:
    """How the questions of the last day ended, and the seconds an answer took on average."""
    row = connection.execute(
        "SELECT count(*), count(delivered_us), count(CASE WHEN status = 'accepted' THEN 1 END), "
        "count(CASE WHEN status = 'declined' THEN 1 END), count(CASE WHEN status = 'cancelled' THEN 1 END), "
        "count(CASE WHEN status = 'pending' AND expires_us <= :now THEN 1 END), "
        "coalesce(avg(responded_us - created_us), 0) FROM elicitations WHERE created_us > :oldest",
        {"now": now, "oldest": now - DAY_US},
    ).fetchone()
    names = ("created", "delivered", "accepted", "declined", "cancelled", "expired")
    return {**dict(zip(names, row, strict=False)), "average_response_seconds": round(float(row[6]) / 1e6, 3)}


def forget_elicitations(transaction: Transaction) -> None:
    """Forget questions of more than thirty days ago; their events stay."""
    transaction.connection.execute(
        "DELETE FROM elicitations WHERE created_us <= ?", (transaction.now_us - KEPT_US,)
    )


def _append(transaction: Transaction, agent_id: str, elicitation_id: str, kind: str, **data: str) -> None:
    # What is asked and answered may be confidential: the record says who and when, not what.
    transaction.append(
        EventType.CUSTOM, agent_id, elicitation_id, {"kind": kind, "elicitation_id": elicitation_id, **data}
    )
