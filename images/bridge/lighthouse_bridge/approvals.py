"""What people decide: one validation, and, if they say so, the same call in future."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from .clock import iso
from .decisions.verdict import Decision
from .escalations import Escalation, decide, find_escalation
from .events import EventType
from .messages import StandingApproval
from .problems import Problem

if TYPE_CHECKING:
    from .transactions import Connection, Transaction

# Seconds that a decision holds when the person names no other time.
DEFAULT_SECONDS = {"once": 600, "agent": 8 * 3600, "always": 30 * 86_400}


class Approval(msgspec.Struct, frozen=True):
    """A decision made in advance; `status` is approved or blocked."""

    approval_id: str
    status: str
    decided_by: str
    reason: str


def undecided(transaction: Transaction, validation_id: str) -> Escalation:
    """The validation a person may decide: one that waits, or one that experts decided. Raises Problem 404, or
    409 naming who decided."""
    escalation = find_escalation(transaction.connection, validation_id)
    if escalation is None:
        raise Problem(404, f"No validation {validation_id[:80]!r} waits for review.")
    if escalation.stage == "decided" and escalation.tier == "expert":
        return escalation
    if escalation.stage == "decided":
        raise Problem(
            409,
            f"The validation {validation_id!r} was {escalation.decision} by {escalation.decided_by} already; "
            "let the agent ask again.",
        )
    if escalation.expires_us <= transaction.now_us:
        raise Problem(
            409,
            f"The validation {validation_id!r} expired at {iso(escalation.expires_us)}; "
            "let the agent ask again.",
        )
    return escalation


def decide_by_person(
    transaction: Transaction,
    validation_id: str,
    person: str,
    status: str,
    reason: str,
    remember: str,
    expires_in: int | None,
) -> int:
    """End a validation by a person's word and remember it as told; returns when it ends, in microseconds."""
    escalation = undecided(transaction, validation_id)
    expires = transaction.now_us + (expires_in or DEFAULT_SECONDS[remember]) * 1_000_000
    # A refusal is remembered without count: whoever asks again gets the same answer.
    uses = 1 if remember == "once" and status == "approved" else None
    transaction.connection.execute(
        "INSERT INTO standing_approvals (approval_id, shape, agent_id, status, uses_left, decided_by, reason, "
        "validation_id, created_us, expires_us, sequence) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            secrets.token_hex(8),
            escalation.shape,
            None if remember == "always" else escalation.agent_id,
            status,
            uses,
            person,
            reason,
            validation_id,
            transaction.now_us,
            expires,
            transaction.sequence + 1,
        ),
    )
    decision = Decision.APPROVE if status == "approved" else Decision.BLOCK
    sentence = told(Approval("", status, person, reason))
    decide(transaction, escalation, decision, "human", person, sentence, 1.0)
    return expires


def use_approval(transaction: Transaction, shape: str, agent_id: str, validation_id: str) -> Approval | None:
    """The latest standing decision on a call of this agent, used up once; None when there is none."""
    row = transaction.connection.execute(
        "SELECT approval_id, status, decided_by, reason FROM standing_approvals WHERE shape = ? "
        "AND expires_us > ? AND (agent_id IS NULL OR agent_id = ?) AND (uses_left IS NULL OR uses_left > 0) "
        "ORDER BY sequence DESC LIMIT 1",
        (shape, transaction.now_us, agent_id),
    ).fetchone()
    if row is None:
        return None
    approval = Approval(*row)
    transaction.connection.execute(
        "UPDATE standing_approvals SET uses_left = uses_left - 1 WHERE approval_id = ?",
        (approval.approval_id,),
    )
    transaction.append(
        EventType.VALIDATION_POLICY_APPLIED,
        agent_id,
        validation_id,
        {
            "approval_id": approval.approval_id,
            "status": approval.status,
            "decided_by": approval.decided_by,
            "validation_id": validation_id,
        },
    )
    return approval


def list_approvals(connection: Connection, now: int, limit: int) -> list[StandingApproval]:
    """Standing decisions that still hold, the latest first."""
    rows = connection.execute(
        "SELECT s.approval_id, s.status, s.agent_id, e.tool_name, e.tool_input, s.uses_left, s.decided_by, "
        "s.reason, s.validation_id, s.created_us, s.expires_us FROM standing_approvals s "
        "LEFT JOIN escalations e ON e.validation_id = s.validation_id WHERE s.expires_us > ? "
        "AND (s.uses_left IS NULL OR s.uses_left > 0) ORDER BY s.created_us DESC, s.approval_id LIMIT ?",
        (now, limit),
    ).fetchall()
    return [
        StandingApproval(
            approval_id=row[0],
            status=row[1],
            agent_id=row[2],
            tool_name=row[3],
            tool_input=None if row[4] is None else msgspec.json.decode(row[4]),
            uses_left=row[5],
            decided_by=row[6],
            reason=row[7],
            validation_id=row[8],
            created_at=iso(row[9]),
            expires_at=iso(row[10]),
        )
        for row in rows
    ]


def revoke_approval(transaction: Transaction, approval_id: str, person: str, reason: str) -> None:
    """Take a standing decision back; raises Problem 404 when none of that id holds."""
    row = transaction.connection.execute(
        "DELETE FROM standing_approvals WHERE approval_id = ? AND expires_us > ? RETURNING validation_id",
        (approval_id, transaction.now_us),
    ).fetchone()
    if row is None:
        raise Problem(404, f"No standing decision {approval_id[:80]!r} holds; see GET /approvals.")
    transaction.append(
        EventType.VALIDATION_POLICY_APPLIED,
        person,
        row[0],
        {
            "approval_id": approval_id,
            "status": "revoked",
            "decided_by": person,
            "reason": reason,
            "validation_id": row[0],
        },
    )


def told(approval: Approval) -> str:
    """The reason an agent is given: who decided, and why."""
    return f"{approval.status.capitalize()} by {approval.decided_by}: {approval.reason.rstrip('.')}."
