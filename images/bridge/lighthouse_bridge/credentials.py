"""Join keys, roles and session tokens."""

from __future__ import annotations

import hashlib
import hmac
import re
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Role(IntEnum):
    """What a session may do; a higher role may do all that a lower one may."""

    EXPERT = 1
    BUILDER = 2
    OPERATOR = 3

    @property
    def label(self) -> str:
        """The role's name as files, answers and metrics write it."""
        return self.name.lower()


_OWN_KEY = re.compile(rb"([a-z0-9][a-z0-9-]{0,62})\.([0-9a-f]{64})")


def own_key(expert_key: str, name: str) -> str:
    """The join key of one expert, made of the role's key: who has it can join as an expert of that name alone. The
    key stands on both sides of the name, so that no other name can be made from the result."""
    return f"{name}.{hashlib.sha256(f'{expert_key}:{name}:{expert_key}'.encode()).hexdigest()}"


class JoinKeys:
    """The join keys in a folder, one file a role, read again when a file changes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cache: dict[Role, tuple[tuple[int, int, int], bytes]] = {}

    def holder_of(self, key: bytes) -> tuple[Role, str] | None:
        """The role that `key` joins as, and the name of the expert whose own key it is, or None. Experts who join
        with the role's key have no name: nobody can tell them apart."""
        own = _OWN_KEY.fullmatch(key)
        shared = self._key(Role.EXPERT)
        if own is not None and shared is not None:
            name = own[1].decode()
            expected = own_key(shared.decode(errors="replace"), name).encode()
            return (Role.EXPERT, name) if hmac.compare_digest(expected, key) else None
        role = self._role_of(key)
        return None if role is None else (role, "")

    def _role_of(self, key: bytes) -> Role | None:
        """Every key is compared, in constant time."""
        given = hashlib.sha256(key).digest()
        found: Role | None = None
        for role in Role:
            expected = self._key(role)
            if expected is not None and hmac.compare_digest(hashlib.sha256(expected).digest(), given):
                found = role
        return found

    def roles(self) -> list[str]:
        """The roles that have a usable key."""
        return [role.label for role in Role if self._key(role) is not None]

    def _key(self, role: Role) -> bytes | None:
        path = self._folder / role.label
        try:
            status = path.stat()
            mark = (status.st_mtime_ns, status.st_size, status.st_ino)
            cached = self._cache.get(role)
            if cached is None or cached[0] != mark:
                cached = self._cache[role] = (mark, path.read_bytes().strip())
        except OSError:
            self._cache.pop(role, None)
            return None
        # An empty or tiny file must not let anybody in.
        return cached[1] if len(cached[1]) >= 16 else None


def sign_token(secret: bytes, session_id: str, agent_id: str, created: float) -> str:
    """The token of a session: `session_id:agent_id:epoch:hmac`."""
    body = f"{session_id}:{agent_id}:{created}"
    return f"{body}:{hmac.digest(secret, body.encode(), 'sha256').hex()}"


def open_token(keys: Sequence[bytes], token: str) -> tuple[str, str] | None:
    """Session and agent id of a token that one of the keys signed, else None."""
    body, _, signature = token.rpartition(":")
    parts = body.split(":")
    if len(parts) != 3 or not body.isascii() or not signature.isascii():
        return None
    for key in keys:
        if hmac.compare_digest(hmac.digest(key, body.encode(), "sha256").hex(), signature):
            return parts[0], parts[1]
    return None
