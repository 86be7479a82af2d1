"""What a cluster needs next, from what its nodes say. Pure.

The first stage that has something to do decides; then the nodes are asked anew. So no action rests on what an earlier
one has changed, and a plan that is interrupted anywhere is simply made again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from lighthouse_redis_keeper.actions import (
    Action,
    AddSlots,
    ClaimSlots,
    Close,
    FailOver,
    Forget,
    Meet,
    Move,
    Replicate,
    TakeOver,
)
from lighthouse_redis_keeper.placement import spread, together
from lighthouse_redis_keeper.topology import SLOTS, View, ordinal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    from lighthouse_redis_keeper.topology import Member

TOLERANCE = 0.02
"""By which share of its slots a primary may differ from the average before slots move."""
BATCH = 512
"""How many slots one plan moves from one primary to another."""


@dataclass(frozen=True, slots=True)
class Target:
    """The shape that the cluster should have."""

    primaries: int
    replicas: int
    """Replicas of each primary."""

    @property
    def size(self) -> int:
        """How many pods that takes; those with a higher number are leaving."""
        return self.primaries * (1 + self.replicas)


@dataclass(frozen=True)
class Situation:
    """What is known at one moment. `views` holds the pods that answer, by number."""

    target: Target
    views: Mapping[int, View]
    gone: frozenset[str] = frozenset()
    """Ids that have been `replaced` for so long that the cluster itself will not act any more."""
    settled: bool = True
    """Whether the cluster has been whole for a while; only then are roles moved between machines."""

    @cached_property
    def pod_of(self) -> dict[str, int]:
        """The pod of each node that answers, by id."""
        return {view.me.id: pod for pod, view in self.views.items()}

    @cached_property
    def absent(self) -> dict[str, list[Member]]:
        """What is said of the nodes that do not answer, by id."""
        found: dict[str, list[Member]] = {}
        for view in self.views.values():
            for member in view.members.values():
                if member.id not in self.pod_of and member.settled:
                    found.setdefault(member.id, []).append(member)
        return found

    @cached_property
    def held(self) -> dict[int, frozenset[int]]:
        """The slots of each primary that answers, by its own word; a pod without slots holds none."""
        return {pod: view.me.slots for pod, view in self.views.items() if not view.me.primary}

    def followers(self, pod: int) -> list[int]:
        """The pods that answer and replicate a pod's node."""
        wanted = self.views[pod].me.id
        return sorted(p for p, view in self.views.items() if view.me.primary == wanted)

    def replaced(self) -> frozenset[str]:
        """Ids of absent nodes whose pod answers under another id, or is not part of the cluster any more."""
        return frozenset(
            name
            for name, seen in self.absent.items()
            if any(member.failed for member in seen)  # a failure is what most primaries agree on
            and (pod := pod_named(seen)) is not None
            and (pod in self.views or pod >= self.target.size)
        )


def pod_named(seen: list[Member]) -> int | None:
    """The pod of a node by what others call it; not all have heard its name."""
    return next((pod for member in seen if (pod := ordinal_of(member.host)) is not None), None)


@dataclass(frozen=True)
class Roles:
    """Which pods should be primaries, and what must happen for that."""

    primaries: tuple[int, ...]
    actions: list[Action] = field(default_factory=list)


def plan(situation: Situation) -> list[Action]:
    """What to do next; nothing when the cluster is as it should be, or cannot be helped now."""
    if not situation.views:
        return []
    stages: tuple[Callable[[Situation], list[Action]], ...] = (
        _meet,
        _lead,
        _create,
        _rescue,
        _complete,
        _forget,
        _finish,
        _roles,
        _rebalance,
        _replicas,
        _place,
    )
    return next((actions for stage in stages if (actions := stage(situation))), [])


def is_whole(situation: Situation) -> bool:
    """Whether all pods answer, agree that every slot is served, and every replica follows its primary."""
    views = situation.views
    return set(range(situation.target.size)) <= views.keys() and all(
        view.whole and view.linked for view in views.values()
    )


def has_shape(situation: Situation) -> bool:
    """Whether exactly as many pods hold slots as should, none of them leaves, and each has its replicas."""
    target = situation.target
    held = [pod for pod, slots in situation.held.items() if slots]
    return (
        len(held) == target.primaries
        and max(held) < target.size
        and all(len(_staying(situation, pod)) >= target.replicas for pod in held)
    )


def is_drained(situation: Situation) -> bool:
    """Whether nothing of the cluster would be missed if the leaving pods stopped."""
    served = sum(map(len, situation.held.values()))
    return is_whole(situation) and has_shape(situation) and served == SLOTS


def _meet(situation: Situation) -> list[Action]:
    def knows(view: View, other: View) -> bool:
        seen = view.members.get(other.me.id)
        return seen is not None and seen.settled and seen.ip == other.me.ip

    return [
        Meet(pod, other)
        for pod, view in situation.views.items()
        for other, its in situation.views.items()
        if pod != other and not knows(view, its)
    ]


def _lead(situation: Situation) -> list[Action]:
    """Lead replicas to the address of their primary: one that hears of it from others goes on at the old one."""
    views = situation.views
    return [
        Replicate(pod, primary)
        for pod, view in views.items()
        if (primary := situation.pod_of.get(view.me.primary)) is not None
        and not view.linked
        and view.source != views[primary].me.ip
        and not views[primary].me.primary
    ]


def _create(situation: Situation) -> list[Action]:
    target, views = situation.target, situation.views
    if any(member.slots for view in views.values() for member in view.members.values()):
        return []
    if not set(range(target.size)) <= views.keys():
        return []
    chosen = spread({pod: views[pod].place for pod in range(target.size)}, target.primaries)
    edges = [SLOTS * n // target.primaries for n in range(target.primaries + 1)]
    return [
        AddSlots(pod, frozenset(range(edges[n], edges[n + 1])))
        for n, pod in enumerate(chosen)
        if not views[pod].me.primary
    ]


def _rescue(situation: Situation) -> list[Action]:
    actions: list[Action] = []
    served = frozenset[int]().union(*situation.held.values())
    for name in sorted(situation.gone & situation.replaced()):
        seen = situation.absent[name]
        lost = frozenset[int]().union(*(member.slots for member in seen)) - served
        if not lost:
            continue
        heirs = [pod for pod, view in situation.views.items() if view.me.primary == name]
        empty = [pod for pod, slots in situation.held.items() if not slots]
        if heirs:
            actions.append(TakeOver(min(heirs), name))
        elif empty:
            same = [pod for pod in empty if pod == pod_named(seen)]
            actions.append(ClaimSlots(min(same or empty), lost, name))
    return actions


def _complete(situation: Situation) -> list[Action]:
    known = [member for view in situation.views.values() for member in view.members.values()]
    claimed = frozenset[int]().union(*(member.slots for member in known))
    missing = frozenset(range(SLOTS)) - claimed
    primaries = {p: len(s) for p, s in situation.held.items() if p < situation.target.size}
    # Nodes that know of no slot at all have lost their volumes; the others may be about to answer.
    if not claimed or not missing or not primaries:
        return []
    # A creation that was interrupted has primaries that are still empty: they come first.
    return [AddSlots(min(primaries, key=lambda pod: (primaries[pod], pod)), missing)]


def _forget(situation: Situation) -> list[Action]:
    return [
        Forget(name)
        for name in sorted(situation.replaced())
        if not any(member.slots for member in situation.absent[name])
    ]


def _finish(situation: Situation) -> list[Action]:
    owner = {slot: pod for pod, slots in situation.held.items() for slot in slots}
    moves: dict[tuple[int, int], set[int]] = {}
    close: dict[int, set[int]] = {}
    for pod, view in situation.views.items():
        # Valkey tells replicas of open slots too; only primaries can end a migration.
        for between in () if view.me.primary else view.me.open_slots:
            other = situation.pod_of.get(between.other)
            source, target = (other, pod) if between.importing else (pod, other)
            if between.slot not in owner:
                continue
            if (
                source is None
                or target is None
                or owner[between.slot] != source
                or not _heard(situation, source, target, {between.slot})
            ):
                close.setdefault(pod, set()).add(between.slot)
            elif situation.views[target].whole:
                # Others take no keys: they are waited for.
                moves.setdefault((source, target), set()).add(between.slot)
    closing: list[Action] = [Close(pod, frozenset(slots)) for pod, slots in close.items()]
    return closing + [Move(s, t, frozenset(slots)) for (s, t), slots in moves.items()]


def _heard(situation: Situation, source: int, target: int, slots: Set[int]) -> bool:
    """Whether the target knows that the source has the slots: of a slot that it imports a node hears nothing more, and
    it takes no keys of one that nobody has."""
    member = situation.views[target].members.get(situation.views[source].me.id)
    return member is not None and slots <= member.slots


def choose_primaries(situation: Situation) -> Roles:
    """Which pods should hold slots: those that do, then replicas of leaving ones, then empty ones."""
    target, views = situation.target, situation.views
    holding = sorted(
        (pod for pod, slots in situation.held.items() if slots), key=lambda p: (-len(situation.held[p]), p)
    )
    chosen = [pod for pod in holding if pod < target.size][: target.primaries]
    actions: list[Action] = []
    for pod in (pod for pod in holding if pod >= target.size):
        heirs = [p for p in situation.followers(pod) if p < target.size and views[p].linked]
        if heirs and len(chosen) < target.primaries:
            chosen.append(heirs[0])
            actions.append(FailOver(heirs[0]))
    empty = {p: views[p].place for p, slots in situation.held.items() if not slots and p < target.size}
    taken = [views[pod].place for pod in chosen]
    chosen += spread(empty, max(target.primaries - len(chosen), 0), taken)
    return Roles(tuple(chosen), actions)


def _roles(situation: Situation) -> list[Action]:
    roles = choose_primaries(situation)
    if roles.actions or not roles.primaries:
        return roles.actions
    views, target = situation.views, situation.target
    load = Counter({pod: len(_staying(situation, pod)) for pod in roles.primaries})
    planned: dict[int, int] = {}
    chosen_ids = {views[pod].me.id for pod in roles.primaries}
    for pod in sorted(p for p in views if p < target.size and p not in roles.primaries):
        me = views[pod].me
        if situation.held.get(pod) or me.primary in chosen_ids:
            continue
        if me.primary and any(m.id == me.primary and m.slots for m in views[pod].members.values()):
            continue  # its primary is absent or not yet drained; it may have to take over
        best = min(roles.primaries, key=lambda p: (load[p], views[p].place == views[pod].place, p))
        load[best] += 1
        planned[pod] = best
    places = {pod: view.place for pod, view in views.items()}
    while swap := together(places, planned):
        planned |= swap
    return [Replicate(pod, primary) for pod, primary in planned.items()]


def _staying(situation: Situation, pod: int) -> list[int]:
    return [p for p in situation.followers(pod) if p < situation.target.size]


def _rebalance(situation: Situation) -> list[Action]:
    primaries = choose_primaries(situation).primaries
    if len(primaries) < situation.target.primaries:
        return []
    held = {pod: slots for pod, slots in situation.held.items() if slots or pod in primaries}
    total = sum(map(len, held.values()))
    if total < SLOTS:
        return []  # an absent primary has the rest
    share = SLOTS // len(primaries)
    uneven = any(abs(len(held[pod]) - share) > share * TOLERANCE for pod in primaries)
    if not uneven and held.keys() == set(primaries):
        return []
    wanted = dict.fromkeys(held, 0) | {
        pod: share + (n < SLOTS % len(primaries)) for n, pod in enumerate(sorted(primaries))
    }
    spare = {p: sorted(slots)[wanted[p] :] for p, slots in held.items() if len(slots) > wanted[p]}
    lack = {pod: wanted[pod] - len(held[pod]) for pod in held if len(held[pod]) < wanted[pod]}
    moves: list[Move] = []
    for source, slots in spare.items():
        while slots and lack:
            target = max(lack, key=lambda pod: (lack[pod], -pod))
            count = min(len(slots), lack[target])
            moves.append(Move(source, target, frozenset(slots[: min(count, BATCH)])))
            del slots[:count]
            lack[target] -= count
            if not lack[target]:
                del lack[target]
    return [
        move
        for move in moves
        if situation.views[move.target].whole and _heard(situation, move.source, move.target, move.slots)
    ]


def _replicas(situation: Situation) -> list[Action]:
    """Even out replicas: a primary with too few gets one of a primary with too many."""
    views, target = situation.views, situation.target
    primaries = [p for p in choose_primaries(situation).primaries if p in situation.held]
    few = [pod for pod in primaries if len(_staying(situation, pod)) < target.replicas]
    many = [pod for pod in primaries if len(_staying(situation, pod)) > target.replicas]
    if not few or not many:
        return []
    spare = _staying(situation, many[0])
    best = min(spare, key=lambda pod: (views[pod].place == views[few[0]].place, pod))
    return [Replicate(best, few[0])]


def _place(situation: Situation) -> list[Action]:
    """Keep a primary and its replicas on different machines, and primaries apart, once all is calm."""
    if not situation.settled or not is_whole(situation):
        return []
    places = {pod: view.place for pod, view in situation.views.items()}
    follows = {
        pod: situation.pod_of[view.me.primary]
        for pod, view in situation.views.items()
        if view.me.primary in situation.pod_of
    }
    swap = together(places, follows)
    if swap:
        return [Replicate(pod, primary) for pod, primary in swap.items()]
    primaries = Counter(places[pod] for pod in set(follows.values()))
    for pod, primary in sorted(follows.items()):
        if primaries[places[primary]] - primaries[places[pod]] >= 2:
            return [FailOver(pod)]
    return []
