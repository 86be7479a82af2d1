"""Work for experts: fetched by them, answered once, delivered again to an expert that came back."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from .clock import iso
from .events import EventType
from .expert_messages import WorkItem
from .experts import renew_expert
from .problems import Problem

if TYPE_CHECKING:
    from .consensus import Candidate
    from .transactions import Transaction

# An answer of ours that was lost on its way must not cost the expert's whole time.
REDELIVER_SECONDS = 10


class Item(msgspec.Struct, frozen=True):
    """A row of work_items, as far as answering needs it."""

    work_id: str
    kind: str
    validation_id: str | None
    agent_type: str
    requested_by: str
    deadline_us: int
    answered_us: int | None
    answer: str | None


def give_work(
    transaction: Transaction,
    expert: Candidate,
    kind: str,
    requested_by: str,
    payload: dict[str, Any],
    deadline_us: int,
    validation_id: str | None = None,
) -> str:
    """Put work before an expert and wake it; returns the work's id."""
    work_id = secrets.token_hex(16)
    transaction.connection.execute(
        "INSERT INTO work_items (work_id, kind, validation_id, expert_id, agent_type, requested_by, payload, "
        "created_us, deadline_us, sequence, key_name) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        (
            work_id,
            kind,
            validation_id,
            expert.agent_id,
            expert.agent_type,
            requested_by,
            msgspec.json.encode(payload).decode(),
            transaction.now_us,
            deadline_us,
            transaction.sequence + 1,
            expert.key_name,
        ),
    )
    transaction.append(
        EventType.EXPERT_AGENT_SUMMONED,
        expert.agent_id,
        validation_id or work_id,
        {
            "kind": kind,
            "validation_id": validation_id,
            "expert_id": expert.agent_id,
            "agent_type": expert.agent_type,
            "requested_by": requested_by,
            "deadline": iso(deadline_us),
        },
    )
    metrics.experts_asked.inc()
    return work_id


def fetch_work(transaction: Transaction, expert_id: str, session_id: str) -> WorkItem | None:
    """The expert's next work that nobody works on: of the agent it was longest not working for, the oldest. Asking
    is a sign of life. Raises Problem 404."""
    renew_expert(transaction, expert_id)
    now = transaction.now_us
    row = transaction.connection.execute(
        "UPDATE work_items SET fetched_us = :now, fetched_session = :session WHERE work_id = ("
        "SELECT w.work_id FROM work_items w WHERE w.expert_id = :expert AND w.answered_us IS NULL "
        "AND w.deadline_us > :now AND (w.fetched_us IS NULL OR w.fetched_session <> :session "
        "OR (w.kind = 'validation' AND w.fetched_us <= :again)) "
        "ORDER BY (SELECT coalesce(max(d.fetched_us), 0) FROM work_items d "
        "WHERE d.expert_id = :expert AND d.requested_by = w.requested_by), w.sequence LIMIT 1) "
        "RETURNING work_id, kind, validation_id, requested_by, payload, created_us, deadline_us",
        {
            "now": now,
            "session": session_id,
            "expert": expert_id,
            "again": now - REDELIVER_SECONDS * 1_000_000,
        },
    ).fetchone()
    if row is None:
        return None
    payload = msgspec.json.decode(row[4])
    return WorkItem(
        work_id=row[0],
        kind=row[1],
        validation_id=row[2],
        requested_by=row[3],
        created_at=iso(row[5]),
        deadline=iso(row[6]),
        **payload,
    )


def find_item(transaction: Transaction, work_id: str, expert_id: str) -> Item:
    """The expert's own work; raises Problem 404 for anybody else's."""
    row = transaction.connection.execute(
        "SELECT work_id, kind, validation_id, agent_type, requested_by, deadline_us, answered_us, answer "
        "FROM work_items WHERE work_id = ? AND expert_id = ?",
        (work_id, expert_id),
    ).fetchone()
    if row is None:
        raise Problem(404, f"The expert {expert_id!r} has no work {work_id[:80]!r}.")
    return Item(*row)


def store_answer(
    transaction: Transaction, item: Item, expert_id: str, answer: str, confidence: float, reasoning: str
) -> None:
    """Close work with the expert's answer."""
    transaction.connection.execute(
        "UPDATE work_items SET answered_us = ?, answer = ?, confidence = ?, reasoning = ? WHERE work_id = ?",
        (transaction.now_us, answer, confidence, reasoning, item.work_id),
    )
    transaction.append(
        EventType.EXPERT_AGENT_RESPONDED,
        expert_id,
        item.validation_id or item.work_id,
        {
            "kind": item.kind,
            "validation_id": item.validation_id,
            "expert_id": expert_id,
            "agent_type": item.agent_type,
            "decision": answer,
            "confidence": confidence,
            "reasoning": reasoning,
        },
    )
    metrics.expert_answers.labels(answer).inc()


def withdraw_work(transaction: Transaction, validation_id: str) -> None:
    """Close what experts have not answered yet: it is decided without them."""
    transaction.connection.execute(
        "UPDATE work_items SET answered_us = ?, answer = 'withdrawn' "
        "WHERE validation_id = ? AND answered_us IS NULL",
        (transaction.now_us, validation_id),
    )
