"""A validation's record: its events, and, when no rule decides it, its escalation and context package."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .approvals import told, use_approval
from .clock import iso, now_us
from .decisions.verdict import Decision
from .escalations import (
    Escalation,
    Limits,
    find_decided,
    find_escalation,
    find_open,
    has_room,
    require_room,
    summon,
)
from .events import EventType

if TYPE_CHECKING:
    from .decisions.verdict import Verdict
    from .transactions import Connection, Transaction

_FILES_SHOWN = 50
_SIMILAR_SHOWN = 5


class Validation(msgspec.Struct, frozen=True):
    """One tool call and what the rules say of it; `shape` names tool and input."""

    id: str
    tool_name: str
    tool_input: dict[str, Any]
    agent_id: str
    metadata: dict[str, Any]
    verdict: Verdict
    rules_version: str
    tier: str
    shape: str

    @property
    def call_key(self) -> str:
        """The call under these rules: a decision for it holds for no other version of them."""
        return f"{self.shape}:{self.rules_version}"


class Outcome(msgspec.Struct, frozen=True):
    """What the caller is told; `stage` says who is still to decide: experts, human, or nobody (decided)."""

    decision: Decision
    reason: str
    confidence: float
    tier: str
    validation_id: str
    stage: str = "decided"


def new_validation_id() -> str:
    """A fresh id; nobody can guess another's. Later ones sort later, so that the store's index grows at its
    end instead of touching a page of its own for every event."""
    return f"{now_us() // 1000:012x}{secrets.token_hex(10)}"


def record_validation(transaction: Transaction, validation: Validation, limits: Limits) -> Outcome:
    """Append the events of a validation and decide it; what only others can decide is put before them."""
    verdict = validation.verdict
    if verdict.tier == "pattern":
        return _refuse_by_pattern(transaction, validation, limits)
    if verdict.decision is not Decision.REVIEW:
        outcome = Outcome(
            verdict.decision, verdict.reason, verdict.confidence, validation.tier, validation.id
        )
        _submitted(transaction, validation, validation.id)
        _decided(transaction, validation, outcome)
        return outcome
    known = _known(transaction, validation, validation.id)
    if known is not None:
        _submitted(transaction, validation, validation.id)
        _decided(transaction, validation, known)
        return known
    same = find_open(transaction.connection, validation.call_key, transaction.now_us)
    if same is not None:
        _submitted(transaction, validation, same.validation_id)
        return _waiting(same)
    return _escalate(transaction, validation, limits)


def revisit_validation(transaction: Transaction, validation: Validation, validation_id: str) -> Outcome:
    """What became of an escalation that a caller waited for."""
    known = _known(transaction, validation, validation_id)
    if known is not None:
        return known
    escalation = find_escalation(transaction.connection, validation_id)
    if escalation is None:
        return Outcome(Decision.BLOCK, "Its record is gone, so it is denied.", 1.0, "expired", validation_id)
    if escalation.stage != "decided":
        return _waiting(escalation)
    if escalation.tier == "expired":
        return Outcome(Decision.BLOCK, escalation.reason, 1.0, "expired", validation_id)
    reason = f"{escalation.decided_by} decided it for the agent {escalation.agent_id!r} alone; ask again."
    return Outcome(Decision.REVIEW, reason, 0.3, "review", validation_id, "human")


def _known(transaction: Transaction, validation: Validation, validation_id: str) -> Outcome | None:
    """What a person or experts decided about the same call already; a person's word comes first."""
    approval = use_approval(transaction, validation.shape, validation.agent_id, validation_id)
    if approval is not None:
        decision = Decision.APPROVE if approval.status == "approved" else Decision.BLOCK
        return Outcome(decision, told(approval), 1.0, "human", validation_id)
    decided = find_decided(transaction.connection, validation.call_key, transaction.now_us)
    if decided is None:
        return None
    decision = Decision.APPROVE if decided.decision == Decision.APPROVE.label else Decision.BLOCK
    return Outcome(decision, decided.reason, decided.confidence or 0.0, "expert", validation_id)


def _waiting(escalation: Escalation) -> Outcome:
    return Outcome(
        Decision.REVIEW, escalation.reason, 0.3, "review", escalation.validation_id, escalation.stage
    )


def _submitted(transaction: Transaction, validation: Validation, validation_id: str) -> None:
    transaction.append(
        EventType.VALIDATION_REQUEST_SUBMITTED,
        validation.agent_id,
        validation_id,
        {
            "validation_id": validation_id,
            "tool_name": validation.tool_name,
            "tool_input": validation.tool_input,
        },
        validation.metadata,
    )


def _decided(transaction: Transaction, validation: Validation, outcome: Outcome) -> int:
    line = transaction.append(
        EventType.VALIDATION_DECISION_MADE,
        validation.agent_id,
        outcome.validation_id,
        {
            "validation_id": outcome.validation_id,
            "tool_name": validation.tool_name,
            "decision": outcome.decision.label,
            "reason": outcome.reason,
            "risk_level": validation.verdict.risk.label,
            "confidence": outcome.confidence,
            "rule": validation.verdict.rule,
            "layer": validation.verdict.layer,
            "rules_version": validation.rules_version,
            "tier": outcome.tier,
        },
    )
    return line.sequence


def _refuse_by_pattern(transaction: Transaction, validation: Validation, limits: Limits) -> Outcome:
    """Refuse what the classifier holds for dangerous, unless somebody who looked at the same call knows better; it
    is put before people, who may."""
    _submitted(transaction, validation, validation.id)
    known = _known(transaction, validation, validation.id)
    verdict = validation.verdict
    outcome = known or Outcome(
        Decision.BLOCK, verdict.reason, verdict.confidence, validation.tier, validation.id
    )
    sequence = _decided(transaction, validation, outcome)
    asked = find_open(transaction.connection, validation.call_key, transaction.now_us) is not None
    if known is None and not asked and has_room(transaction, validation.agent_id):
        _put_before_people(transaction, validation, limits, sequence)
    return outcome


def _escalate(transaction: Transaction, validation: Validation, limits: Limits) -> Outcome:
    require_room(transaction, validation.agent_id)
    verdict = validation.verdict
    outcome = Outcome(verdict.decision, verdict.reason, verdict.confidence, validation.tier, validation.id)
    _submitted(transaction, validation, validation.id)
    sequence = _decided(transaction, validation, outcome)
    transaction.append(
        EventType.VALIDATION_ESCALATED_TO_EXPERT,
        validation.agent_id,
        validation.id,
        {"validation_id": validation.id, "reason": verdict.reason, "context_package": validation.id},
    )
    escalation = _put_before_people(transaction, validation, limits, sequence)
    return _waiting(summon(transaction, escalation, limits))


def _put_before_people(
    transaction: Transaction, validation: Validation, limits: Limits, sequence: int
) -> Escalation:
    """Store an escalation and its context package; nobody but a person decides it until experts are asked."""
    verdict, now = validation.verdict, transaction.now_us
    package = _package(transaction, validation, sequence)
    transaction.connection.execute(
        "INSERT INTO context_packages VALUES (?,?,?,?)",
        (validation.id, sequence, now, msgspec.json.encode(package).decode()),
    )
    tool_input = msgspec.json.encode(validation.tool_input).decode()
    transaction.connection.execute(
        "INSERT INTO escalations (validation_id, sequence, created_us, call_key, shape, agent_id, tool_name, "
        "tool_input, reason, rule, rules_version, risk, stage, experts_until_us, expires_us) "
        "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,'human',?,?)",
        (
            validation.id,
            sequence,
            now,
            validation.call_key,
            validation.shape,
            validation.agent_id,
            validation.tool_name,
            tool_input,
            verdict.reason,
            verdict.rule,
            validation.rules_version,
            int(verdict.risk),
            now + limits.expert_us,
            now + limits.review_us,
        ),
    )
    escalation = find_escalation(transaction.connection, validation.id)
    if escalation is None:
        raise LookupError(validation.id)
    return escalation


def _package(transaction: Transaction, validation: Validation, sequence: int) -> dict[str, Any]:
    connection, verdict = transaction.connection, validation.verdict
    return {
        "manifest": {
            "id": validation.id,
            "created_at": iso(transaction.now_us),
            "sequence": sequence,
            "agent_id": validation.agent_id,
            "tool_name": validation.tool_name,
            "decision": verdict.decision.label,
            "risk_level": verdict.risk.label,
            "contains": ["manifest.json", "files.json", "context.json"],
        },
        "files": _files(connection, validation),
        "context": {
            "request": {"tool_name": validation.tool_name, "tool_input": validation.tool_input},
            "metadata": validation.metadata,
            "reason": verdict.reason,
            "rules_version": validation.rules_version,
            "findings": [
                {
                    "part": finding.part,
                    "decision": finding.decision.label,
                    "risk_level": finding.risk.label,
                    "rule": finding.rule,
                    "reason": finding.reason,
                }
                for finding in verdict.findings
            ],
            "similar": _similar(connection, validation),
            "project": {
                "files": connection.execute("SELECT count(*) FROM files").fetchone()[0],
                "sequence": sequence,
            },
        },
    }


def _files(connection: Connection, validation: Validation) -> dict[str, Any]:
    """The files of the tree that the call names, as words of its text values."""
    words: dict[str, None] = {}
    for value in validation.tool_input.values():
        if isinstance(value, str):
            for word in value[:65_536].split():
                words[word.strip("'\"`();,<>|&").removeprefix("./")] = None
    found: dict[str, Any] = {}
    for word in list(words)[:500]:
        row = connection.execute(
            "SELECT kind, executable, size, content_hash, sequence FROM files WHERE path = ?", (word,)
        ).fetchone()
        if row is not None:
            keys = ("kind", "executable", "size", "content_hash", "sequence")
            found[word] = dict(zip(keys, (row[0], bool(row[1]), *row[2:]), strict=True))
        if len(found) == _FILES_SHOWN:
            break
    return found


def _similar(connection: Connection, validation: Validation) -> list[dict[str, Any]]:
    """The latest reviews of the same tool."""
    rows = connection.execute(
        "SELECT validation_id, agent_id, tool_input, reason FROM escalations "
        "WHERE tool_name = ? AND validation_id <> ? ORDER BY sequence DESC LIMIT ?",
        (validation.tool_name, validation.id, _SIMILAR_SHOWN),
    )
    return [
        {"id": row[0], "agent_id": row[1], "tool_input": msgspec.json.decode(row[2]), "reason": row[3]}
        for row in rows
    ]
