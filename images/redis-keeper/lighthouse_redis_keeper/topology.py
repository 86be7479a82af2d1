"""What nodes of a Redis cluster say about it: `CLUSTER NODES` as values. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLOTS = 16384
_OPEN = re.compile(r"\[(\d+)-([<>])-([0-9a-f]+)\]")
_ADDRESS = re.compile(r"(?P<ip>.*?):(?P<port>\d+)(?:@\d+)?(?:,(?P<host>[^,]*))?")


class TopologyError(ValueError):
    """A node's answer that cannot be understood."""


@dataclass(frozen=True, slots=True)
class OpenSlot:
    """A slot between two nodes: its migration began and has not ended."""

    slot: int
    importing: bool
    """Whether the node that says so receives the slot; else it gives it."""
    other: str


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster as some node sees it."""

    id: str
    ip: str
    host: str
    flags: frozenset[str]
    primary: str
    """The id of the node it replicates; empty for a primary."""
    slots: frozenset[int] = field(default=frozenset(), repr=False)
    open_slots: tuple[OpenSlot, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether most primaries agree that it cannot be reached."""
        return "fail" in self.flags

    @property
    def settled(self) -> bool:
        """Whether it is a member, and not a mere address that was told to join."""
        return not self.flags & {"handshake", "noaddr"}


@dataclass(frozen=True, slots=True)
class View:
    """What one pod's node says of itself and of the others."""

    ordinal: int
    place: str
    """The machine that the pod runs on."""
    me: Member
    members: Mapping[str, Member]
    """All members that it knows, itself among them, by id."""
    linked: bool = True
    """Whether it follows its primary without interruption; true for a primary."""
    source: str = ""
    """The address from which it copies, or tries to; empty for a primary."""
    whole: bool = True
    """Whether it finds the cluster complete."""


def ordinal_of(host: str) -> int | None:
    """The number of the pod in an announced host name: 3 for `redis-3.redis-nodes`."""
    found = re.match(r"[^.]*-(\d+)(?:\.|$)", host)
    return int(found[1]) if found else None


def parse_nodes(text: str) -> tuple[Member, Mapping[str, Member]]:
    """The node itself and all members, from its `CLUSTER NODES`; raises TopologyError."""
    members = {member.id: member for member in map(_member, text.splitlines())}
    own = [member for member in members.values() if "myself" in member.flags]
    if len(own) != 1:
        raise TopologyError(f"CLUSTER NODES names {len(own)} nodes as the answering one instead of one.")
    return own[0], members


def _member(line: str) -> Member:
    words = line.split(" ")
    address = _ADDRESS.fullmatch(words[1]) if len(words) >= 8 else None
    if address is None:
        raise TopologyError(f"CLUSTER NODES has the line {line!r}, which is not one of a node.")
    assigned, between = _slots(words[8:])
    return Member(
        id=words[0],
        ip=address["ip"],
        host=address["host"] or "",
        flags=frozenset(words[2].split(",")),
        primary="" if words[3] == "-" else words[3],
        slots=assigned,
        open_slots=between,
    )


def _slots(words: Iterable[str]) -> tuple[frozenset[int], tuple[OpenSlot, ...]]:
    assigned: set[int] = set()
    between: list[OpenSlot] = []
    for word in words:
        if found := _OPEN.fullmatch(word):
            between.append(OpenSlot(int(found[1]), found[2] == "<", found[3]))
        else:
            first, _, last = word.partition("-")
            assigned.update(range(int(first), int(last or first) + 1))
    return frozenset(assigned), tuple(between)


def ranges(slots: Iterable[int]) -> list[tuple[int, int]]:
    """Slots as ranges, both ends included: {0, 1, 2, 7} is [(0, 2), (7, 7)]."""
    found: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found
