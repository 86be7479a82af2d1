"""Validations that no rule decides: experts are asked, then a person; who stays silent has denied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from .clock import iso
from .consensus import Consensus, Ruling, Vote, choose, settle
from .decisions.verdict import Decision, Risk
from .events import EventType
from .experts import list_candidates, remove_silent_experts
from .problems import Problem
from .work import find_item, give_work, store_answer, withdraw_work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .transactions import Connection, Transaction

QUEUE = 100
# What may be undecided at once, of one agent and of all: beyond that nobody would look at it in time.
OPEN_PER_AGENT = 500
OPEN = 10_000
DECISION_KEPT_US = 3600 * 1_000_000
PACKAGES_KEPT_US = 7 * 86_400 * 1_000_000
PACKAGES_KEPT = 10_000
HISTORY_KEPT_US = 30 * 86_400 * 1_000_000
# There before the first, as LIMITS in metrics.
metrics.escalations_ended.labels("expired", Decision.BLOCK.label)


class Limits(msgspec.Struct, frozen=True):
    """How long experts and people have, in microseconds, which capabilities experts need to be asked about a
    tool (`*` stands for the others), and whether experts are asked at all."""

    expert_us: int
    review_us: int
    capabilities: Mapping[str, frozenset[str]]
    experts: bool = True


class Escalation(msgspec.Struct, frozen=True):
    """A row of escalations; `stage` is experts, human or decided."""

    validation_id: str
    created_us: int
    shape: str
    agent_id: str
    tool_name: str
    tool_input: str
    reason: str
    rule: str
    rules_version: str
    risk: int
    stage: str
    experts_until_us: int
    expires_us: int
    decision: str | None
    tier: str | None
    decided_by: str | None
    confidence: float | None


_COLUMNS = ", ".join(field.name for field in msgspec.structs.fields(Escalation))


class Ended(msgspec.Struct, frozen=True):
    """That experts' part in an escalation ended: the answers they gave, the ruling, the seconds it took."""

    answers: int
    ruling: Ruling
    seconds: float


def find_escalation(connection: Connection, validation_id: str) -> Escalation | None:
    """The escalation of a validation, or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM escalations WHERE validation_id = ?",  # noqa: S608 - names of this module
        (validation_id,),
    ).fetchone()
    return None if row is None else Escalation(*row)


def find_open(connection: Connection, call_key: str, now: int) -> Escalation | None:
    """The undecided escalation of the same call, or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM escalations WHERE call_key = ? AND stage <> 'decided' "  # noqa: S608 - as above
        "AND expires_us > ? LIMIT 1",
        (call_key, now),
    ).fetchone()
    return None if row is None else Escalation(*row)


def find_decided(connection: Connection, call_key: str, now: int) -> Escalation | None:
    """What experts decided about the same call within the last hour, or None."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM escalations WHERE call_key = ? AND stage = 'decided' "  # noqa: S608 - as above
        "AND tier = 'expert' AND decided_us > ? ORDER BY decided_us DESC LIMIT 1",
        (call_key, now - DECISION_KEPT_US),
    ).fetchone()
    return None if row is None else Escalation(*row)


def summon(transaction: Transaction, escalation: Escalation, limits: Limits) -> Escalation:
    """Ask experts, or leave the escalation to people and say why; returns it as it is then."""
    tool_input = msgspec.json.decode(escalation.tool_input)
    refusal = ""
    chosen = []
    if not limits.experts:
        refusal = "Experts did not answer lately and are not asked for a while"
    elif _waiting_for_experts(transaction.connection) >= QUEUE and not _make_room(transaction, escalation):
        refusal = f"{QUEUE} validations wait for experts already"
    else:
        candidates = list_candidates(transaction.connection, transaction.now_us)
        wanted = limits.capabilities.get(escalation.tool_name) or limits.capabilities.get("*", frozenset())
        chosen = choose(candidates, wanted, escalation.agent_id, escalation.validation_id)
        refusal = "" if chosen else "No expert is available"
    payload = {
        "tool_name": escalation.tool_name,
        "tool_input": tool_input,
        "reason": escalation.reason,
        "risk_level": Risk(escalation.risk).label,
    }
    for expert in chosen:
        give_work(
            transaction,
            expert,
            "validation",
            escalation.agent_id,
            payload,
            escalation.experts_until_us,
            escalation.validation_id,
        )
    stage = "experts" if chosen else "human"
    reason = f"{escalation.reason} {refusal}; a person can approve it." if refusal else escalation.reason
    transaction.connection.execute(
        "UPDATE escalations SET stage = ?, reason = ? WHERE validation_id = ?",
        (stage, reason, escalation.validation_id),
    )
    return msgspec.structs.replace(escalation, stage=stage, reason=reason)


def answer_validation(
    transaction: Transaction, expert_id: str, work_id: str, answer: str, confidence: float, reasoning: str
) -> tuple[str, Ended | None]:
    """Take an expert's answer; `recorded`, or `late` when it does not count any more."""
    item = find_item(transaction, work_id, expert_id)
    if item.kind != "validation" or item.validation_id is None:
        raise Problem(409, f"The work {work_id!r} is a {item.kind}; complete it with POST /expert/complete.")
    if item.answered_us is not None and item.answer == answer:
        return "recorded", None
    if item.answered_us is not None and item.answer != "withdrawn":
        raise Problem(409, f"The work {work_id!r} was answered with {item.answer!r} already.")
    escalation = find_escalation(transaction.connection, item.validation_id)
    if (
        escalation is None
        or escalation.stage != "experts"
        or escalation.experts_until_us <= transaction.now_us
    ):
        return "late", None
    store_answer(transaction, item, expert_id, answer, confidence, reasoning)
    return "recorded", _conclude(transaction, escalation, closed=False)


def has_room(transaction: Transaction, agent_id: str) -> bool:
    """Whether one more validation of an agent may wait."""
    try:
        require_room(transaction, agent_id)
    except Problem:
        return False
    return True


def require_room(transaction: Transaction, agent_id: str) -> None:
    """Raise Problem 429 when an agent, or all of them, have too much undecided already."""
    total, own = transaction.connection.execute(
        "SELECT count(*), count(CASE WHEN agent_id = ? THEN 1 END) FROM escalations WHERE stage <> 'decided'",
        (agent_id,),
    ).fetchone()
    if own >= OPEN_PER_AGENT or total >= OPEN:
        whose = f"{own} validations of {agent_id!r}" if own >= OPEN_PER_AGENT else f"{total} validations"
        raise Problem(
            429,
            f"{whose} wait for experts or people already; wait until some are decided.",
            (("Retry-After", "30"),),
        )


def decide(
    transaction: Transaction,
    escalation: Escalation,
    decision: Decision,
    tier: str,
    decided_by: str,
    reason: str,
    confidence: float,
) -> None:
    """End an escalation durably; who decided is part of the record."""
    transaction.connection.execute(
        "UPDATE escalations SET stage = 'decided', decision = ?, tier = ?, decided_by = ?, reason = ?, "
        "confidence = ?, decided_us = ? WHERE validation_id = ?",
        (
            decision.label,
            tier,
            decided_by,
            reason,
            confidence,
            transaction.now_us,
            escalation.validation_id,
        ),
    )
    withdraw_work(transaction, escalation.validation_id)
    _announce(transaction, escalation, decision, tier, decided_by, reason, confidence)


def sweep(transaction: Transaction) -> list[Ended]:
    """Do what time demands: end the experts' time, deny what nobody decided, forget who is silent."""
    connection, now = transaction.connection, transaction.now_us
    ended = []
    for escalation in _due(connection, "stage = 'experts' AND experts_until_us <= ?", now):
        result = _conclude(transaction, escalation, closed=True)
        ended += [result] if result else []
    for escalation in _due(connection, "stage <> 'decided' AND expires_us <= ?", now):
        seconds = (escalation.expires_us - escalation.created_us) / 1_000_000
        reason = f"Nobody approved it within {seconds:g} s, so it is denied. {escalation.reason}"
        decide(transaction, escalation, Decision.BLOCK, "expired", "nobody", reason, 1.0)
        metrics.escalations_ended.labels("expired", Decision.BLOCK.label).inc()
    connection.execute(
        "UPDATE work_items SET answered_us = ?, answer = 'expired', reasoning = 'Out of time.' "
        "WHERE answered_us IS NULL AND kind <> 'validation' AND deadline_us <= ?",
        (now, now),
    )
    remove_silent_experts(transaction)
    connection.execute("DELETE FROM standing_approvals WHERE expires_us <= ?", (now,))
    connection.execute("DELETE FROM work_items WHERE answered_us <= ?", (now - HISTORY_KEPT_US,))
    connection.execute("DELETE FROM escalations WHERE decided_us <= ?", (now - HISTORY_KEPT_US,))
    # Experts read a package while they judge; afterwards it only tells people what was decided on, and the events
    # tell that as well.
    connection.execute("DELETE FROM context_packages WHERE created_us <= ?", (now - PACKAGES_KEPT_US,))
    connection.execute(
        "DELETE FROM context_packages WHERE sequence <= (SELECT sequence FROM context_packages "
        "ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
        (PACKAGES_KEPT,),
    )
    return ended


def is_due(connection: Connection, now: int) -> bool:
    """Whether an escalation has reached one of its limits."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM escalations WHERE stage = 'experts' AND experts_until_us <= :now) "
        "OR EXISTS (SELECT 1 FROM escalations WHERE stage IN ('experts', 'human') AND expires_us <= :now)",
        {"now": now},
    ).fetchone()
    return bool(row[0])


def count_pending(connection: Connection) -> int:
    """How many validations wait for experts or people."""
    row = connection.execute("SELECT count(*) FROM escalations WHERE stage <> 'decided'").fetchone()
    return int(row[0])


def resume(transaction: Transaction, limits: Limits) -> None:
    """After a restart, give experts their work and their whole time again: no answer arrived in between."""
    until = transaction.now_us + limits.expert_us
    transaction.connection.execute(
        "UPDATE work_items SET deadline_us = ?, fetched_us = NULL WHERE answered_us IS NULL AND validation_id IN "
        "(SELECT validation_id FROM escalations WHERE stage = 'experts')",
        (until,),
    )
    transaction.connection.execute(
        "UPDATE escalations SET experts_until_us = ? WHERE stage = 'experts'", (until,)
    )


def list_votes(connection: Connection, validation_id: str) -> tuple[list[Vote], int, dict[str, str]]:
    """The answers of experts, how many were asked who can be told apart, and what each gave as reason."""
    rows = connection.execute(
        "SELECT expert_id, agent_type, answer, confidence, key_name, reasoning FROM work_items "
        "WHERE validation_id = ? ORDER BY sequence",
        (validation_id,),
    ).fetchall()
    answered = [row for row in rows if row[2] in {"approve", "deny", "abstain"}]
    asked = len({row[4] for row in rows})
    return [Vote(*row[:5]) for row in answered], asked, {row[0]: row[5] for row in answered}


def _conclude(transaction: Transaction, escalation: Escalation, *, closed: bool) -> Ended | None:
    votes, asked, reasons = list_votes(transaction.connection, escalation.validation_id)
    consensus = settle(votes, asked, Risk(escalation.risk), closed=closed)
    if consensus is None:
        return None
    if consensus.ruling is Ruling.NONE:
        _leave_to_people(transaction, escalation, consensus.reason)
    else:
        approved = consensus.ruling is Ruling.APPROVED
        decision = Decision.APPROVE if approved else Decision.BLOCK
        side = "approve" if approved else "deny"
        by = [vote.expert_id for vote in votes if vote.decision == side]
        reason = _because(consensus, [reasons[name] for name in by])
        decide(transaction, escalation, decision, "expert", ", ".join(by), reason, consensus.confidence)
    seconds = (transaction.now_us - escalation.created_us) / 1_000_000
    return Ended(len(votes), consensus.ruling, seconds)


def _because(consensus: Consensus, reasons: list[str]) -> str:
    said = next((reason for reason in reasons if reason), "no reason given").rstrip(".")
    return f"{consensus.reason[0].upper()}{consensus.reason[1:]}: {said}."


def _announce(
    transaction: Transaction,
    escalation: Escalation,
    decision: Decision,
    tier: str,
    decided_by: str,
    reason: str,
    confidence: float,
) -> None:
    data: dict[str, Any] = {
        "validation_id": escalation.validation_id,
        "tool_name": escalation.tool_name,
        "decision": decision.label,
        "reason": reason,
        "risk_level": Risk(escalation.risk).label,
        "confidence": confidence,
        "rule": escalation.rule,
        "rules_version": escalation.rules_version,
        "tier": tier,
        "decided_by": decided_by,
        "decided_at": iso(transaction.now_us),
    }
    transaction.append(
        EventType.VALIDATION_DECISION_MADE, escalation.agent_id, escalation.validation_id, data
    )


def _waiting_for_experts(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM escalations WHERE stage = 'experts'").fetchone()
    return int(row[0])


def _make_room(transaction: Transaction, escalation: Escalation) -> bool:
    """Leave the latest validation of the agent that has most of the queue to people, if that agent has more of it
    than the newcomer would: who asks much cannot keep experts from the others."""
    rows = transaction.connection.execute(
        "SELECT agent_id, count(*) FROM escalations WHERE stage = 'experts' GROUP BY agent_id "
        "ORDER BY count(*) DESC, agent_id"
    ).fetchall()
    counts = {str(row[0]): int(row[1]) for row in rows}
    most = next(iter(counts))
    if counts[most] <= counts.get(escalation.agent_id, 0) + 1:
        return False
    (latest,) = transaction.connection.execute(
        "SELECT validation_id FROM escalations WHERE stage = 'experts' AND agent_id = ? "
        "ORDER BY sequence DESC LIMIT 1",
        (most,),
    ).fetchone()
    displaced = find_escalation(transaction.connection, latest)
    if displaced is None:
        return False
    _leave_to_people(transaction, displaced, f"the agent {most!r} has most of the experts' queue")
    return True


def _leave_to_people(transaction: Transaction, escalation: Escalation, why: str) -> None:
    reason = f"{escalation.reason} No consensus, as {why}; a person can approve it."
    transaction.connection.execute(
        "UPDATE escalations SET stage = 'human', reason = ? WHERE validation_id = ?",
        (reason, escalation.validation_id),
    )
    withdraw_work(transaction, escalation.validation_id)
    _announce(transaction, escalation, Decision.REVIEW, "expert", "", reason, 0.3)


def _due(connection: Connection, condition: str, now: int) -> list[Escalation]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM escalations WHERE {condition} ORDER BY sequence",  # noqa: S608 - as above
        (now,),
    ).fetchall()
    return [Escalation(*row) for row in rows]
