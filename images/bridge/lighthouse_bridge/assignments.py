"""Orders to one expert: a delegated tool call to look at, or a task. They occupy it until they are completed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso, now_us
from .expert_messages import AssignmentAnswer
from .experts import list_candidates, list_experts
from .problems import Problem
from .work import find_item, give_work, store_answer

if TYPE_CHECKING:
    from .consensus import Candidate
    from .transactions import Connection, Transaction

SECONDS = {"delegation": 300, "task": 600}


class Record(msgspec.Struct, frozen=True):
    """How an expert has done so far."""

    completed: int
    failed: int
    seconds: float
    contexts: int

    @property
    def score(self) -> float:
        """0.4 for success, 0.3 for speed, 0.3 for a free desk; an unknown expert counts as a good one."""
        ended = self.completed + self.failed
        success = self.completed / ended if ended else 1.0
        return 0.4 * success + 0.3 / max(self.seconds, 1.0) + 0.3 / max(self.contexts, 1)


def assign(
    transaction: Transaction, kind: str, target: str, requested_by: str, payload: dict[str, Any]
) -> tuple[str, str]:
    """Give an order to the expert `target`, or to the best one with that capability; returns the order's and
    the expert's id. Raises Problem 404 when there is no such expert and 409 when all are busy."""
    connection, now = transaction.connection, transaction.now_us
    known = [
        one
        for one in list_experts(connection, now)
        if target in {one.agent_id, *one.capabilities} and one.agent_id != requested_by
    ]
    if not known:
        raise Problem(404, f"No expert is called {target!r} or has that capability; see GET /experts.")
    ids = {one.agent_id for one in known}
    free = [one for one in list_candidates(connection, now) if one.agent_id in ids]
    if not free:
        raise Problem(409, f"Every expert for {target!r} is busy or offline; try again later.")
    named = [one for one in free if one.agent_id == target]
    best = max(named or free, key=lambda one: (_record(connection, one).score, one.agent_id))
    deadline = now + SECONDS[kind] * 1_000_000
    return give_work(transaction, best, kind, requested_by, payload, deadline), best.agent_id


def complete(transaction: Transaction, work_id: str, expert_id: str, status: str, result: str) -> None:
    """End an order with its result, which makes the expert available again; raises Problem 404 or 409."""
    item = find_item(transaction, work_id, expert_id)
    if item.kind == "validation":
        raise Problem(409, f"The work {work_id!r} is a validation; answer it with POST /expert/answer.")
    if item.answered_us is not None and item.answer == status:
        return
    if item.answered_us is not None or item.deadline_us <= transaction.now_us:
        raise Problem(409, f"The work {work_id!r} has ended already: {item.answer or 'expired'}.")
    store_answer(transaction, item, expert_id, status, 1.0, result)


def find_assignment(connection: Connection, work_id: str, requested_by: str | None) -> AssignmentAnswer:
    """How an order stands; raises Problem 404 for one of somebody else when `requested_by` is given."""
    row = connection.execute(
        "SELECT kind, expert_id, deadline_us, fetched_us, answer, reasoning, requested_by FROM work_items "
        "WHERE work_id = ? AND kind <> 'validation'",
        (work_id,),
    ).fetchone()
    if row is None or (requested_by is not None and row[6] != requested_by):
        raise Problem(404, f"You gave no delegation or task {work_id[:80]!r}.")
    expired = row[4] is None and row[2] <= now_us()
    status = "expired" if expired else row[4] or ("working" if row[3] else "waiting")
    return AssignmentAnswer(work_id, row[0], row[1], status, iso(row[2]), row[5])  # type: ignore[arg-type]  # statuses are the literal's values


def _record(connection: Connection, expert: Candidate) -> Record:
    row = connection.execute(
        "SELECT count(CASE WHEN answer = 'completed' THEN 1 END), count(CASE WHEN answer IN ('failed', 'expired') THEN 1 END), "
        "CAST(coalesce(avg(CASE WHEN answer = 'completed' THEN answered_us - created_us END), 0) "
        "AS DOUBLE PRECISION) / 1000000 "
        "FROM work_items WHERE expert_id = ? AND kind <> 'validation' AND answered_us IS NOT NULL",
        (expert.agent_id,),
    ).fetchone()
    return Record(row[0], row[1], row[2], expert.load)
