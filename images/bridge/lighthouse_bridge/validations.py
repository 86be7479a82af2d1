"""A validation's record: its events, and, when it needs review, its context package and queue entry."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .decisions.verdict import Decision
from .events import EventType

if TYPE_CHECKING:
    import sqlite3

    from .database import Transaction
    from .decisions.verdict import Verdict

_FILES_SHOWN = 50
_SIMILAR_SHOWN = 5


class Validation(msgspec.Struct, frozen=True):
    """One decided tool call, ready to be recorded."""

    id: str
    tool_name: str
    tool_input: dict[str, Any]
    agent_id: str
    metadata: dict[str, Any]
    verdict: Verdict
    rules_version: str
    tier: str


def new_validation_id() -> str:
    """A fresh id; nobody can guess another's."""
    return secrets.token_hex(16)


def record_validation(transaction: Transaction, validation: Validation) -> None:
    """Append the events of a validation; a review also gets a context package and a place in the queue."""
    verdict = validation.verdict
    transaction.append(
        EventType.VALIDATION_REQUEST_SUBMITTED,
        validation.agent_id,
        validation.id,
        {
            "validation_id": validation.id,
            "tool_name": validation.tool_name,
            "tool_input": validation.tool_input,
        },
        validation.metadata,
    )
    decided = {
        "validation_id": validation.id,
        "tool_name": validation.tool_name,
        "decision": verdict.decision.label,
        "reason": verdict.reason,
        "risk_level": verdict.risk.label,
        "confidence": verdict.confidence,
        "rule": verdict.rule,
        "rules_version": validation.rules_version,
        "tier": validation.tier,
    }
    line = transaction.append(EventType.VALIDATION_DECISION_MADE, validation.agent_id, validation.id, decided)
    if verdict.decision is not Decision.REVIEW:
        return
    transaction.append(
        EventType.VALIDATION_ESCALATED_TO_EXPERT,
        validation.agent_id,
        validation.id,
        {"validation_id": validation.id, "reason": verdict.reason, "context_package": validation.id},
    )
    transaction.connection.execute(
        "INSERT INTO pending VALUES (?,?,?,?,?,?,?,?)",
        (
            validation.id,
            line.sequence,
            transaction.now_us,
            validation.agent_id,
            validation.tool_name,
            msgspec.json.encode(validation.tool_input).decode(),
            verdict.reason,
            verdict.risk.label,
        ),
    )
    package = _package(transaction, validation, line.sequence)
    transaction.connection.execute(
        "INSERT INTO context_packages VALUES (?,?,?,?)",
        (validation.id, line.sequence, transaction.now_us, msgspec.json.encode(package).decode()),
    )


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


def _files(connection: sqlite3.Connection, validation: Validation) -> dict[str, Any]:
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


def _similar(connection: sqlite3.Connection, validation: Validation) -> list[dict[str, Any]]:
    """The latest reviews of the same tool."""
    rows = connection.execute(
        "SELECT validation_id, agent_id, tool_input, reason FROM pending "
        "WHERE tool_name = ? AND validation_id <> ? ORDER BY sequence DESC LIMIT ?",
        (validation.tool_name, validation.id, _SIMILAR_SHOWN),
    )
    return [
        {"id": row[0], "agent_id": row[1], "tool_input": msgspec.json.decode(row[2]), "reason": row[3]}
        for row in rows
    ]
