"""What can be done to a cluster. Each action is safe to repeat. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meet:
    """Let a pod's node meet the node of another pod at its present address."""

    pod: int
    other: int


@dataclass(frozen=True, slots=True)
class AddSlots:
    """Give a primary slots that nobody has."""

    pod: int
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class ClaimSlots:
    """Give a primary the slots of a node that is gone for good, and whose data is lost."""

    pod: int
    slots: frozenset[int]
    lost: str


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Make a replica the primary without a vote, since its own is gone for good."""

    pod: int
    lost: str


@dataclass(frozen=True, slots=True)
class FailOver:
    """Make a replica the primary, its present primary agreeing, so that no write is lost."""

    pod: int


@dataclass(frozen=True, slots=True)
class Replicate:
    """Make a node the replica of another pod's node."""

    pod: int
    primary: int


@dataclass(frozen=True, slots=True)
class Move:
    """Move slots with their keys from one primary to another; begins anew what was interrupted."""

    source: int
    target: int
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class Close:
    """Forget that slots were on their way: nothing has to move."""

    pod: int
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class Forget:
    """Let all nodes forget one that is gone for good and holds no slots."""

    id: str


Action = Meet | AddSlots | ClaimSlots | TakeOver | FailOver | Replicate | Move | Close | Forget
