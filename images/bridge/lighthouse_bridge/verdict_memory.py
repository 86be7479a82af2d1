"""Verdicts that all bridges remember, behind each one's own memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from .decisions.verdict import Verdict
from .sealing import seal, unseal
from .shared import SharedAwayError

if TYPE_CHECKING:
    from .auth_keys import AuthKeys
    from .shared import Shared

SECONDS = 3600.0


class VerdictMemory:
    """Keys name the call, the rules' version and the generation, so nothing older is ever found; values are
    sealed, so nobody who can write to Redis can approve anything. Whatever goes wrong is not remembered."""

    def __init__(self, shared: Shared, auth_keys: AuthKeys, scope: tuple[str, ...]) -> None:
        """`scope` is what the verdict depends on beside the call and the rules."""
        self._shared = shared
        self._keys = auth_keys
        self._scope = hashlib.sha256("\0".join(scope).encode()).hexdigest()

    def generation(self) -> str | None:
        """The mark under which verdicts count now; None when none may be taken from memory."""
        return self._shared.generation()

    async def recall(self, key: str) -> Verdict | None:
        """The verdict of a call under the rules that `key` names, or None."""
        name = self._name(key)
        if name is None:
            return None
        try:
            sealed = await self._shared.recall(name)
        except SharedAwayError:
            return None
        value = None if sealed is None else unseal(self._keys.verifying(), name, sealed)
        return None if value is None else msgspec.msgpack.decode(value, type=Verdict)

    async def remember(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict."""
        name = self._name(key)
        if name is None:
            return
        try:
            await self._shared.keep(
                name, seal(self._keys.signing(), name, msgspec.msgpack.encode(verdict)), SECONDS
            )
        except SharedAwayError:
            return

    def _name(self, key: str) -> str | None:
        generation = self._shared.generation()
        return None if generation is None else f"verdict:{generation}:{self._scope}:{key}"
