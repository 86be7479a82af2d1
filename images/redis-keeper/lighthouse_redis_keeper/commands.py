"""The Redis commands of each action but Move, and their words for the log. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from lighthouse_redis_keeper.actions import (
    Action,
    AddSlots,
    ClaimSlots,
    Close,
    FailOver,
    Forget,
    Meet,
    Replicate,
    TakeOver,
)
from lighthouse_redis_keeper.topology import ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lighthouse_redis_keeper.topology import View

Words = tuple[str | int, ...]


def commands(action: Action, views: Mapping[int, View], port: int) -> list[tuple[int, Words]]:
    """What to send to which pods, in order. `port` is that of every node."""
    match action:
        case Meet(pod, other):
            return [(pod, ("CLUSTER", "MEET", views[other].me.ip, port))]
        case AddSlots(pod, slots):
            return [(pod, ("CLUSTER", "ADDSLOTSRANGE", *_ends(slots)))]
        case ClaimSlots(pod, slots):
            # The node drops the dead owner's claim, if it knows of it, before it makes its own, with a newer epoch.
            known = slots & frozenset[int]().union(*(m.slots for m in views[pod].members.values()))
            drop: list[tuple[int, Words]] = [(pod, ("CLUSTER", "DELSLOTSRANGE", *_ends(known)))]
            return [
                *(drop if known else []),
                (pod, ("CLUSTER", "ADDSLOTSRANGE", *_ends(slots))),
                (pod, ("CLUSTER", "BUMPEPOCH")),
            ]
        case TakeOver(pod):
            return [(pod, ("CLUSTER", "FAILOVER", "TAKEOVER"))]
        case FailOver(pod):
            return [(pod, ("CLUSTER", "FAILOVER"))]
        case _:
            return _others(action, views)


def _others(action: Action, views: Mapping[int, View]) -> list[tuple[int, Words]]:
    match action:
        case Replicate(pod, primary):
            return [(pod, ("CLUSTER", "REPLICATE", views[primary].me.id))]
        case Close(pod, slots):
            return [(pod, ("CLUSTER", "SETSLOT", slot, "STABLE")) for slot in sorted(slots)]
        case Forget(name):
            return [(pod, ("CLUSTER", "FORGET", name)) for pod, view in views.items() if name in view.members]
        case _:
            raise TypeError(f"{type(action).__name__} is more than a list of commands.")


def _ends(slots: frozenset[int]) -> tuple[int, ...]:
    return tuple(end for both in ranges(slots) for end in both)


def described(action: Action) -> dict[str, object]:
    """The action as fields of a log line; slots by their number."""
    found = {field.name: getattr(action, field.name) for field in fields(action)}
    shown = {name: len(value) if isinstance(value, frozenset) else value for name, value in found.items()}
    return {"action": type(action).__name__, **shown}
