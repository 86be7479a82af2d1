"""Sessions: kept in the store, so a restart keeps them, and remembered in memory for speed."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from .clock import iso, now_us
from .credentials import Role, open_token, sign_token
from .escalations import count_pending
from .events import EventType
from .experts import list_experts, remove_experts_of

if TYPE_CHECKING:
    import sqlite3

    from .database import Database, Transaction

IDLE_US = 3600 * 1_000_000
AGE_US = 8 * 3600 * 1_000_000
SESSIONS_PER_AGENT = 3


class Session(msgspec.Struct):
    """A live session; times in microseconds since the epoch."""

    session_id: str
    agent_id: str
    role: Role
    created_us: int
    last_seen_us: int
    seen_stored: bool = True

    def expires_us(self) -> int:
        """When the session ends if it is not used again."""
        return min(self.last_seen_us + IDLE_US, self.created_us + AGE_US)


class Sessions:
    """All live sessions. `flush` stores when they were last seen; losing a minute of that is harmless."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self._database = database
        self._secret = secret
        self._live: dict[str, Session] = {}
        # A request that loaded a session while it was being ended must not bring it back.
        self._ended: set[str] = set()
        self._generation = -1

    async def create(
        self, agent_id: str, role: Role, ip_address: str, user_agent: str, metadata: dict[str, Any]
    ) -> tuple[Session, str]:
        """Make a durable session and its token; the agent's oldest ones beyond three are ended."""
        session_id = secrets.token_hex(16)

        def work(transaction: Transaction) -> tuple[int, list[str]]:
            created = transaction.now_us
            evicted = _evict(transaction, agent_id, role)
            transaction.connection.execute(
                "INSERT INTO sessions VALUES (?,?,?,?,?,?,?,?)",
                (
                    session_id,
                    agent_id,
                    role.label,
                    created,
                    created,
                    ip_address,
                    user_agent,
                    msgspec.json.encode(metadata).decode(),
                ),
            )
            transaction.append(
                EventType.AGENT_SESSION_STARTED,
                agent_id,
                agent_id,
                {"session": session_id[:8], "role": role.label},
            )
            return created, evicted

        created, evicted = await self._database.write(work)
        for old in evicted:
            self._forget(old)
        session = Session(session_id, agent_id, role, created, created)
        self._live[session_id] = session
        metrics.sessions_created.labels(role.label).inc()
        return session, sign_token(self._secret, session_id, agent_id, created / 1_000_000)

    async def open(self, token: str) -> Session | None:
        """The live session of a token, or None; using it keeps it alive."""
        named = open_token(self._secret, token)
        if named is None:
            return None
        if self._generation != self._database.generation:
            self._live.clear()
            self._generation = self._database.generation
        session = self._live.get(named[0])
        if session is None:
            session = await self._database.read(lambda connection: _load(connection, named[0]))
            if session is None or session.session_id in self._ended:
                return None
            session = self._live.setdefault(named[0], session)
        now = now_us()
        if session.agent_id != named[1] or session.expires_us() <= now:
            return None
        session.last_seen_us = now
        session.seen_stored = False
        return session

    async def end(self, session_id: str, by: str) -> bool:
        """End a session durably, by the word of agent `by`; whether there was one."""
        found = await self._database.write(lambda transaction: _end_by(transaction, session_id, by))
        self._forget(session_id)
        return found

    async def entries(self) -> list[tuple[Session, str, str]]:
        """Every live session with the address and user agent it was opened with, by agent."""
        return await self._database.read(lambda connection: _list(connection, now_us()))

    def _forget(self, session_id: str) -> None:
        self._ended.add(session_id)
        self._live.pop(session_id, None)

    async def flush(self) -> None:
        """Store when sessions were last seen and end those that expired."""
        seen = [session for session in self._live.values() if not session.seen_stored]
        rows = [(session.last_seen_us, session.session_id) for session in seen]

        def work(transaction: Transaction) -> dict[str, int]:
            connection = transaction.connection
            connection.executemany("UPDATE sessions SET last_seen_us = ? WHERE session_id = ?", rows)
            now = now_us()
            expired = connection.execute(
                "SELECT session_id, agent_id FROM sessions WHERE last_seen_us <= ? OR created_us <= ?",
                (now - IDLE_US, now - AGE_US),
            ).fetchall()
            for session_id, agent_id in expired:
                _end(transaction, session_id, agent_id, "expired")
            metrics.pending_validations.set(count_pending(connection))
            metrics.experts_registered.set(len(list_experts(connection, now)))
            return dict(connection.execute("SELECT role, count(*) FROM sessions GROUP BY role").fetchall())

        ended = set(self._ended)
        counts = await self._database.write(work)
        self._ended -= ended
        for session in seen:
            session.seen_stored = True
        now = now_us()
        for session_id in [key for key, session in self._live.items() if session.expires_us() <= now]:
            del self._live[session_id]
        for role in Role:
            metrics.sessions_live.labels(role.label).set(counts.get(role.label, 0))


def session_expiry(session: Session) -> str:
    """ISO time at which an unused session ends."""
    return iso(session.expires_us())


def _load(connection: sqlite3.Connection, session_id: str) -> Session | None:
    row = connection.execute(
        "SELECT session_id, agent_id, role, created_us, last_seen_us FROM sessions WHERE session_id = ?",
        (session_id,),
    ).fetchone()
    return None if row is None else Session(row[0], row[1], Role[row[2].upper()], row[3], row[4])


def _list(connection: sqlite3.Connection, now: int) -> list[tuple[Session, str, str]]:
    rows = connection.execute(
        "SELECT session_id, agent_id, role, created_us, last_seen_us, ip_address, user_agent FROM sessions "
        "WHERE last_seen_us > ? AND created_us > ? ORDER BY agent_id, role, created_us",
        (now - IDLE_US, now - AGE_US),
    ).fetchall()
    return [
        (Session(row[0], row[1], Role[row[2].upper()], row[3], row[4]), str(row[5]), str(row[6]))
        for row in rows
    ]


def _end_by(transaction: Transaction, session_id: str, by: str) -> bool:
    row = transaction.connection.execute(
        "SELECT agent_id FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchone()
    if row is not None:
        _end(transaction, session_id, row[0], "ended" if row[0] == by else f"ended by {by}")
    return row is not None


def _evict(transaction: Transaction, agent_id: str, role: Role) -> list[str]:
    rows = transaction.connection.execute(
        "SELECT session_id FROM sessions WHERE agent_id = ? AND role = ? ORDER BY created_us DESC, rowid DESC",
        (agent_id, role.label),
    ).fetchall()
    evicted = [row[0] for row in rows[SESSIONS_PER_AGENT - 1 :]]
    for session_id in evicted:
        _end(transaction, session_id, agent_id, "evicted")
    return evicted


def _end(transaction: Transaction, session_id: str, agent_id: str, reason: str) -> None:
    cursor = transaction.connection.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))
    if cursor.rowcount:
        remove_experts_of(transaction, session_id)
        transaction.append(
            EventType.AGENT_SESSION_ENDED,
            agent_id,
            agent_id,
            {"session": session_id[:8], "reason": reason},
        )
