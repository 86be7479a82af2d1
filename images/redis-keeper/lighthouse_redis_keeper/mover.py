"""Moving slots with their keys between two nodes, so that it can be interrupted anywhere and begun anew."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from lighthouse_redis_keeper.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lighthouse_redis_keeper.server import Server
    from lighthouse_redis_keeper.settings import Access
    from lighthouse_redis_keeper.topology import View

AT_ONCE = 64
"""Slots that are open at a time: clients are told to ask twice for keys of these."""
KEYS = 100
PATIENCE_MS = 5000
"""How long one MIGRATE of up to `KEYS` keys may take; the source answers nobody meanwhile."""


class Mover:
    """Moves slots from a source to a target; `others` are the other nodes, which are told who has them now."""

    def __init__(
        self,
        source: Server,
        target: Server,
        ends: tuple[View, View],
        others: Iterable[Server],
        access: Access,
    ) -> None:
        self._source, self._target = source, target
        self._from, self._to = (end.me for end in ends)
        self._others = tuple(others)
        self._access = access

    def move(self, slots: Iterable[int]) -> int:
        """Move slots; returns how many keys went with them. Raises NodeError."""
        moved = 0
        left = iter(sorted(slots))
        while batch := list(islice(left, AT_ONCE)):
            _require(self._target, [("CLUSTER", "SETSLOT", s, "IMPORTING", self._from.id) for s in batch])
            _require(self._source, [("CLUSTER", "SETSLOT", s, "MIGRATING", self._to.id) for s in batch])
            counts = _require(self._source, [("CLUSTER", "COUNTKEYSINSLOT", s) for s in batch])
            moved += sum(counts)
            for slot in (slot for slot, count in zip(batch, counts, strict=True) if count):
                for keys in self._keys(slot):
                    self._migrate(keys)
            # The target first: should the source stop now, the slot has an owner.
            owned = [("CLUSTER", "SETSLOT", s, "NODE", self._to.id) for s in batch]
            _require(self._target, owned)
            _require(self._source, owned)
            for other in self._others:
                other.ask_all(owned)  # only hastens what gossip does, and replicas refuse it
        return moved

    def _keys(self, slot: int) -> Iterator[list[bytes]]:
        while keys := self._source.ask("CLUSTER", "GETKEYSINSLOT", slot, KEYS):
            yield keys

    def _migrate(self, keys: list[bytes]) -> None:
        """Move keys. The source's are the valid ones: an interrupted MIGRATE may have left copies."""
        refusal: NodeError | None = None
        for password in self._access.passwords():
            try:
                where = (self._to.ip, self._access.port, "", 0, PATIENCE_MS)
                self._source.ask(
                    "MIGRATE", *where, "REPLACE", "AUTH2", self._access.user, password, "KEYS", *keys
                )
            except NodeError as error:
                refusal = error
            else:
                return
        raise refusal or NodeError(f"{self._access.user} has no password to move keys with.")


def _require(server: Server, commands: Sequence[Sequence[str | int]]) -> list[int]:
    answers = server.ask_all(commands)
    for answer in answers:
        if isinstance(answer, RedisError):
            raise NodeError(f"{server.host} refused {' '.join(map(str, commands[0][:2]))}: {answer}")
    return [answer if isinstance(answer, int) else 0 for answer in answers]
