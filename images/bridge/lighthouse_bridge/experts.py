"""The registry of experts, in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .consensus import Candidate
from .events import EventType
from .expert_messages import Expert
from .problems import Problem

if TYPE_CHECKING:
    from .transactions import Connection, Transaction

AVAILABLE_US = 5 * 60 * 1_000_000
KEPT_US = 10 * 60 * 1_000_000

# An order to one expert (a delegation or task) occupies it until it is completed or out of time.
_BUSY = (
    "EXISTS (SELECT 1 FROM work_items w WHERE w.expert_id = e.agent_id AND w.kind <> 'validation' "
    "AND w.answered_us IS NULL AND w.deadline_us > :now)"
)
_LOAD = (
    "(SELECT count(*) FROM work_items w WHERE w.expert_id = e.agent_id AND w.kind = 'validation' "
    "AND w.answered_us IS NULL AND w.deadline_us > :now)"
)


def register_expert(
    transaction: Transaction,
    agent_id: str,
    session_id: str,
    agent_type: str,
    capabilities: list[str],
    metadata: dict[str, Any],
) -> None:
    """Add an expert or renew its entry, which lasts as long as the session that registers it."""
    now = transaction.now_us
    transaction.connection.execute(
        "INSERT INTO expert_registry VALUES (?,?,?,?,?,?,?) ON CONFLICT (agent_id) DO UPDATE SET "
        "agent_type = excluded.agent_type, capabilities = excluded.capabilities, "
        "metadata = excluded.metadata, last_seen_us = excluded.last_seen_us, session_id = excluded.session_id",
        (
            agent_id,
            agent_type,
            msgspec.json.encode(capabilities).decode(),
            msgspec.json.encode(metadata).decode(),
            now,
            now,
            session_id,
        ),
    )
    transaction.append(
        EventType.AGENT_REGISTERED,
        agent_id,
        agent_id,
        {"agent_type": agent_type, "capabilities": capabilities},
    )


def renew_expert(transaction: Transaction, agent_id: str) -> int:
    """Note that an expert lives; returns when it is forgotten without another sign, in microseconds."""
    now = transaction.now_us
    cursor = transaction.connection.execute(
        "UPDATE expert_registry SET last_seen_us = ? WHERE agent_id = ? AND last_seen_us > ?",
        (now, agent_id, now - KEPT_US),
    )
    if not cursor.rowcount:
        raise Problem(
            404, f"The expert {agent_id!r} is not registered; register it with POST /expert/register."
        )
    return now + KEPT_US


def remove_silent_experts(transaction: Transaction) -> None:
    """Forget experts that gave no sign of life for ten minutes."""
    rows = transaction.connection.execute(
        "DELETE FROM expert_registry WHERE last_seen_us <= ? RETURNING agent_id",
        (transaction.now_us - KEPT_US,),
    ).fetchall()
    for (agent_id,) in rows:
        _left(transaction, agent_id, "silent")


def remove_experts_of(transaction: Transaction, session_id: str) -> None:
    """Forget the expert that a session which ends had registered."""
    rows = transaction.connection.execute(
        "DELETE FROM expert_registry WHERE session_id = ? RETURNING agent_id", (session_id,)
    ).fetchall()
    for (agent_id,) in rows:
        _left(transaction, agent_id, "session ended")


def _left(transaction: Transaction, agent_id: str, reason: str) -> None:
    transaction.append(EventType.AGENT_DISCONNECTED, agent_id, agent_id, {"reason": reason})


def list_experts(connection: Connection, now: int) -> list[Expert]:
    """Experts heard of in the last ten minutes; offline after five."""
    rows = connection.execute(
        # Only text from this module is put into the statement.
        "SELECT agent_id, agent_type, capabilities, registered_us, last_seen_us, "  # noqa: S608 - made of constants
        f"{_BUSY} FROM expert_registry e WHERE last_seen_us > :oldest ORDER BY agent_id",
        {"now": now, "oldest": now - KEPT_US},
    )
    return [
        Expert(
            agent_id=row[0],
            agent_type=row[1],
            capabilities=msgspec.json.decode(row[2], type=list[str]),
            status="offline" if row[4] <= now - AVAILABLE_US else "busy" if row[5] else "available",
            registered_at=iso(row[3]),
            last_seen_at=iso(row[4]),
        )
        for row in rows
    ]


def list_candidates(connection: Connection, now: int) -> list[Candidate]:
    """Experts who could be given work now: heard of within five minutes and not busy."""
    rows = connection.execute(
        f"SELECT e.agent_id, e.agent_type, e.capabilities, {_LOAD}, coalesce(s.key_name, '') "  # noqa: S608 - as above
        "FROM expert_registry e LEFT JOIN sessions s ON s.session_id = e.session_id "
        f"WHERE e.last_seen_us > :oldest AND NOT {_BUSY} ORDER BY e.agent_id",
        {"now": now, "oldest": now - AVAILABLE_US},
    )
    return [
        Candidate(row[0], row[1], msgspec.json.decode(row[2], type=frozenset[str]), row[3], row[4])
        for row in rows
    ]


def count_available(connection: Connection, now: int) -> int:
    """How many experts gave a sign of life within five minutes."""
    row = connection.execute(
        "SELECT count(*) FROM expert_registry WHERE last_seen_us > ?", (now - AVAILABLE_US,)
    )
    return int(row.fetchone()[0])
