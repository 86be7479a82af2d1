"""The registry of experts, in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .events import EventType
from .messages import Expert
from .problems import Problem

if TYPE_CHECKING:
    import sqlite3

    from .database import Transaction

AVAILABLE_US = 5 * 60 * 1_000_000
KEPT_US = 10 * 60 * 1_000_000


def register_expert(
    transaction: Transaction,
    agent_id: str,
    agent_type: str,
    capabilities: list[str],
    metadata: dict[str, Any],
) -> None:
    """Add an expert or renew its entry."""
    now = transaction.now_us
    transaction.connection.execute("DELETE FROM experts WHERE last_seen_us <= ?", (now - KEPT_US,))
    transaction.connection.execute(
        "INSERT INTO experts VALUES (?,?,?,?,?,?) ON CONFLICT (agent_id) DO UPDATE SET "
        "agent_type = excluded.agent_type, capabilities = excluded.capabilities, "
        "metadata = excluded.metadata, last_seen_us = excluded.last_seen_us",
        (
            agent_id,
            agent_type,
            msgspec.json.encode(capabilities).decode(),
            msgspec.json.encode(metadata).decode(),
            now,
            now,
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
        "UPDATE experts SET last_seen_us = ? WHERE agent_id = ? AND last_seen_us > ?",
        (now, agent_id, now - KEPT_US),
    )
    if not cursor.rowcount:
        raise Problem(
            404, f"The expert {agent_id!r} is not registered; register it with POST /expert/register."
        )
    return now + KEPT_US


def list_experts(connection: sqlite3.Connection, now: int) -> list[Expert]:
    """Experts heard of in the last ten minutes; offline after five."""
    rows = connection.execute(
        "SELECT agent_id, agent_type, capabilities, registered_us, last_seen_us FROM experts "
        "WHERE last_seen_us > ? ORDER BY agent_id",
        (now - KEPT_US,),
    )
    return [
        Expert(
            agent_id=row[0],
            agent_type=row[1],
            capabilities=msgspec.json.decode(row[2], type=list[str]),
            status="available" if row[4] > now - AVAILABLE_US else "offline",
            registered_at=iso(row[3]),
            last_seen_at=iso(row[4]),
        )
        for row in rows
    ]


def count_available(connection: sqlite3.Connection, now: int) -> int:
    """How many experts gave a sign of life within five minutes."""
    row = connection.execute("SELECT count(*) FROM experts WHERE last_seen_us > ?", (now - AVAILABLE_US,))
    return int(row.fetchone()[0])
