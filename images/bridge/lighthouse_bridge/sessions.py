"""Sessions: kept in the store, so a restart keeps them, and remembered in memory for speed."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from .clock import iso, now_us
from .credentials import Role, open_token, sign_token
from .escalations import count_pending
from .events import EventType
from .experts import list_experts, remove_experts_of
from .sealing import seal, unseal
from .shared import SharedAwayError

if TYPE_CHECKING:
    from .auth_keys import AuthKeys
    from .clients import Client
    from .database import Database
    from .shared import Shared
    from .transactions import Connection, Transaction

IDLE_US = 3600 * 1_000_000
AGE_US = 8 * 3600 * 1_000_000
SESSIONS_PER_AGENT = 3
# What other bridges may have ended is trusted no longer than this, here and in what bridges share: together less
# than the second within which an ended session is dead everywhere.
TRUST_SECONDS = 0.4
SHARED_SECONDS = 0.5
# Every bridge stores when sessions were seen every half minute; who looks at the store alone waits that out.
FLUSH_US = 60 * 1_000_000
# There before the first, as LIMITS in metrics.
for _role in Role:
    metrics.sessions_created.labels(_role.label)

_COLUMNS = "session_id, agent_id, role, created_us, last_seen_us, ip_address, user_agent"


class Session(msgspec.Struct):
    """A live session; times in microseconds since the epoch."""

    session_id: str
    agent_id: str
    role: Role
    created_us: int
    last_seen_us: int
    seen_stored: bool = True
    # Where it was opened; an empty address is not known and so not compared.
    ip_address: str = ""
    user_agent: str = ""
    # By the monotonic clock; not when it was used, but when it was last known to be live.
    known_at: float = 0.0

    def expires_us(self) -> int:
        """When the session ends if it is not used again."""
        return min(self.last_seen_us + IDLE_US, self.created_us + AGE_US)

    def moved(self, client: Client) -> str:
        """What differs from where the session was opened: address, user agent, or nothing."""
        if self.ip_address and client.address != self.ip_address:
            return "address"
        return "" if client.user_agent == self.user_agent else "user agent"


class Sessions:
    """All live sessions. `flush` stores when they were last seen; losing a minute of that is harmless."""

    def __init__(self, database: Database, auth_keys: AuthKeys, shared: Shared, *, alone: bool) -> None:
        """`alone`: no other bridge writes to this store, so what is in memory is true."""
        self._database = database
        self._keys = auth_keys
        self._shared = shared
        self._alone = alone
        shared.listen("session", self._forget)
        self._live: dict[str, Session] = {}
        # A request that loaded a session while it was being ended must not bring it back.
        self._ended: set[str] = set()
        self._generation = -1

    async def create(
        self, agent_id: str, role: Role, key_name: str, client: Client, metadata: dict[str, Any]
    ) -> tuple[Session, str]:
        """Make a durable session and its token; the agent's oldest ones beyond three are ended. `key_name` is that
        of the expert whose own key it joined with."""
        session_id = secrets.token_hex(16)

        def work(transaction: Transaction) -> tuple[int, list[str]]:
            created = transaction.now_us
            evicted = _evict(transaction, agent_id, role)
            transaction.connection.execute(
                "INSERT INTO sessions (session_id, agent_id, role, created_us, last_seen_us, ip_address, user_agent, "
                "metadata, sequence, key_name) VALUES (?,?,?,?,?,?,?,?,?,?)",
                (
                    session_id,
                    agent_id,
                    role.label,
                    created,
                    created,
                    client.address,
                    client.user_agent,
                    msgspec.json.encode(metadata).decode(),
                    transaction.sequence + 1,
                    key_name,
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
            await self._tell_ended(old)
        session = Session(
            session_id,
            agent_id,
            role,
            created,
            created,
            ip_address=client.address,
            user_agent=client.user_agent,
            known_at=time.monotonic(),
        )
        self._live[session_id] = session
        metrics.sessions_created.labels(role.label).inc()
        return session, sign_token(self._keys.signing(), session_id, agent_id, created / 1_000_000)

    async def open(self, token: str) -> Session | None:
        """The live session of a token, or None; using it keeps it alive."""
        named = open_token(self._keys.verifying(), token)
        if named is None:
            return None
        if self._generation != self._database.generation:
            self._live.clear()
            self._generation = self._database.generation
        session = await self._find(named[0])
        if session is None or session.agent_id != named[1]:
            return None
        return session if self._use(session) else None

    async def lives(self, session: Session) -> bool:
        """Whether a session that is being used, as by an open stream, still lives; that keeps it alive."""
        found = await self._find(session.session_id)
        return found is not None and self._use(found)

    def _use(self, session: Session) -> bool:
        now = now_us()
        if session.expires_us() <= now:
            return False
        session.last_seen_us = now
        session.seen_stored = False
        return True

    async def _find(self, session_id: str) -> Session | None:
        """The session as it is in memory, or as the others have it when that may be out of date."""
        session = self._live.get(session_id)
        asked = time.monotonic()
        if session is not None and (self._alone or asked < session.known_at + TRUST_SECONDS):
            return session
        found = await self._look(session_id, asked)
        if found is None or session_id in self._ended:
            self._live.pop(session_id, None)
            return None
        session = self._live.setdefault(session_id, found)
        session.known_at = max(session.known_at, asked)
        session.last_seen_us = max(session.last_seen_us, found.last_seen_us)
        return session

    async def end(self, session_id: str, by: str) -> bool:
        """End a session durably, by the word of agent `by`; whether there was one."""
        found = await self._database.write(lambda transaction: _end_by(transaction, session_id, by))
        await self._tell_ended(session_id)
        return found

    async def entries(self) -> list[Session]:
        """Every live session, by agent."""
        return await self._database.read(lambda connection: _list(connection, now_us()))

    async def _look(self, session_id: str, asked: float) -> Session | None:
        """The session by what bridges share, else by the store; then it is shared for the others."""
        if self._alone:
            return await self._database.read(lambda connection: _load(connection, session_id))
        name = f"session:{session_id}"
        with suppress(SharedAwayError):
            sealed = await self._shared.recall(name)
            value = None if sealed is None else unseal(self._keys.verifying(), name, sealed)
            if value is not None:
                return msgspec.msgpack.decode(value, type=Session)
        found = await self._database.read(lambda connection: _load(connection, session_id))
        # Counted from before the store was read: what takes long is shared for a shorter time, or not at all.
        left = asked + SHARED_SECONDS - time.monotonic()
        if found is not None and left > 0:
            with suppress(SharedAwayError):
                sealed = seal(self._keys.signing(), name, msgspec.msgpack.encode(found))
                await self._shared.keep(name, sealed, left)
        return found

    async def _tell_ended(self, session_id: str) -> None:
        """Forget a session here, and let the others forget it at once; without this they do so within a second."""
        self._forget(session_id)
        if not self._alone:
            with suppress(SharedAwayError):
                await self._shared.forget(f"session:{session_id}")
                await self._shared.announce("session", session_id)

    def _forget(self, session_id: str) -> None:
        self._ended.add(session_id)
        self._live.pop(session_id, None)

    async def flush(self) -> None:
        """Store when sessions were last seen and end those that expired."""
        seen = [session for session in self._live.values() if not session.seen_stored]
        rows = [(session.last_seen_us, session.session_id, session.last_seen_us) for session in seen]

        def work(transaction: Transaction) -> dict[str, int]:
            connection = transaction.connection
            # Another bridge may have seen it later.
            connection.executemany(
                "UPDATE sessions SET last_seen_us = ? WHERE session_id = ? AND last_seen_us < ?", rows
            )
            # Whatever an expert asks for is a sign of its life.
            connection.executemany(
                "UPDATE expert_registry SET last_seen_us = ? WHERE session_id = ? AND last_seen_us < ?", rows
            )
            now = now_us()
            expired = connection.execute(
                "SELECT session_id, agent_id FROM sessions WHERE last_seen_us <= ? OR created_us <= ?",
                (now - IDLE_US - FLUSH_US, now - AGE_US),
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


def _load(connection: Connection, session_id: str) -> Session | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?",  # noqa: S608 - names of this module
        (session_id,),
    ).fetchone()
    return None if row is None else _read(row)


def _read(row: tuple[Any, ...]) -> Session:
    role = Role[row[2].upper()]
    return Session(row[0], row[1], role, row[3], row[4], ip_address=row[5], user_agent=row[6])


def _list(connection: Connection, now: int) -> list[Session]:
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions "  # noqa: S608 - names of this module
        "WHERE last_seen_us > ? AND created_us > ? ORDER BY agent_id, role, created_us",
        (now - IDLE_US, now - AGE_US),
    ).fetchall()
    return [_read(row) for row in rows]


def _end_by(transaction: Transaction, session_id: str, by: str) -> bool:
    row = transaction.connection.execute(
        "SELECT agent_id FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchone()
    if row is not None:
        _end(transaction, session_id, row[0], "ended" if row[0] == by else f"ended by {by}")
    return row is not None


def _evict(transaction: Transaction, agent_id: str, role: Role) -> list[str]:
    rows = transaction.connection.execute(
        "SELECT session_id FROM sessions WHERE agent_id = ? AND role = ? ORDER BY sequence DESC",
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
