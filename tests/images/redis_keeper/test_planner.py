"""Plans, tried on a model of a cluster: from any state they lead to the wished one, whatever interrupts them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from lighthouse_redis_keeper.commands import commands
from lighthouse_redis_keeper.planner import Situation, Target, has_shape, is_drained, is_whole, plan
from lighthouse_redis_keeper.topology import (
    SLOTS,
    Member,
    OpenSlot,
    View,
)

EVERY = frozenset(range(SLOTS))


@dataclass
class Node:
    """A node of the model."""

    primary: str = ""
    slots: frozenset[int] = frozenset()
    ip: str = ""
    open_slots: tuple[OpenSlot, ...] = ()
    knows: dict[str, str] = field(default_factory=dict)
    """The address at which it knows others, by id."""


class Model:
    """Nodes that do what they are told and hear of each other at once."""

    def __init__(self, size: int, machines: int = 3) -> None:
        self.machines = machines
        self.nodes = {f"n{pod}": Node(ip=f"10.0.0.{pod}") for pod in range(size)}
        self.pods = {pod: f"n{pod}" for pod in range(size)}
        self.forgotten: list[str] = []

    def node(self, pod: int) -> Node:
        return self.nodes[self.pods[pod]]

    def views(self) -> dict[int, View]:
        host = {name: f"redis-{pod}.nodes" for pod, name in self.pods.items()}
        owned = frozenset[int]().union(*(self.nodes[name].slots for name in self.pods.values()))

        def member(name: str, ip: str) -> Member:
            node = self.nodes[name]
            flags = {"slave" if node.primary else "master"} | (set() if name in host else {"fail"})
            named = host.get(name) or f"redis-{name[1:].partition('-')[0]}.nodes"
            return Member(name, ip, named, frozenset(flags), node.primary, node.slots, node.open_slots)

        return {
            pod: View(
                ordinal=pod,
                place=f"machine-{pod % self.machines}",
                me=member(name, self.nodes[name].ip),
                members={name: member(name, self.nodes[name].ip)}
                | {other: member(other, ip) for other, ip in self.nodes[name].knows.items()},
                whole=owned == EVERY,
                linked=not self.nodes[name].primary or self.nodes[name].primary in self.pods.values(),
            )
            for pod, name in self.pods.items()
        }

    def do(self, action: Action) -> None:
        match action:
            case Meet(pod, other):
                for one, two in ((pod, other), (other, pod)):
                    self.node(one).knows |= self.node(two).knows | {self.pods[two]: self.node(two).ip}
                    self.node(one).knows.pop(self.pods[one], None)
            case AddSlots(pod, slots) | ClaimSlots(pod, slots):
                for node in self.nodes.values():
                    node.slots -= slots
                self.node(pod).slots |= slots
            case Move(source, target, slots):
                assert slots <= self.node(source).slots
                assert not self.node(target).primary
                self.node(source).slots -= slots
                self.node(target).slots |= slots
                self.node(source).open_slots = self.node(target).open_slots = ()
            case Close(pod, _):
                self.node(pod).open_slots = ()
            case _:
                self._change_roles(action)

    def _change_roles(self, action: Action) -> None:
        match action:
            case Replicate(pod, primary):
                assert not self.node(pod).slots, "a node with slots cannot become a replica"
                assert not self.node(primary).primary, "the primary must be one"
                self.node(pod).primary = self.pods[primary]
            case FailOver(pod):
                self._promote(pod, self.node(pod).primary)
            case TakeOver(pod, lost):
                assert self.node(pod).primary == lost
                self._promote(pod, lost)
            case Forget(name):
                assert name not in self.pods.values(), "a node that answers must not be forgotten"
                assert not self.nodes[name].slots, "a node that holds slots must not be forgotten"
                self.forgotten.append(name)
                for node in self.nodes.values():
                    node.knows.pop(name, None)

    def _promote(self, pod: int, old: str) -> None:
        name, node = self.pods[pod], self.node(pod)
        node.slots, node.primary = self.nodes[old].slots, ""
        self.nodes[old].slots, self.nodes[old].primary = frozenset(), name
        for other in self.nodes.values():
            if other.primary == old and other is not node:
                other.primary = name

    def lose(self, pod: int) -> None:
        """The pod comes back without its volume: under another id and at another address."""
        name = f"n{pod}-{len(self.nodes)}"
        self.nodes[name] = Node(ip=f"10.1.0.{len(self.nodes)}")
        self.pods[pod] = name

    def open(self, source: int, target: int) -> frozenset[int]:
        """Let a slot be on its way from one node to another, by the word of the first alone; returns it."""
        slot = min(self.node(source).slots)
        self.node(source).open_slots = (OpenSlot(slot, importing=False, other=self.pods[target]),)
        return frozenset({slot})

    def situation(self, target: Target) -> Situation:
        found = Situation(target, self.views())
        return replace(found, gone=found.replaced())

    def settle(self, target: Target, stops: list[int] | None = None, steps: int = 200) -> Situation:
        """Follow plans until there is none; `stops` says after how many actions each is interrupted."""
        cuts = list(stops or [])
        for _ in range(steps):
            situation = self.situation(target)
            actions = plan(situation)
            if not actions:
                return situation
            for action in actions[: cuts.pop() if cuts else None]:
                self.do(action)
        raise AssertionError(f"no end after {steps} steps: {actions}")


def settled() -> tuple[Model, int, int]:
    """Three primaries with a replica each, and two of those primaries."""
    model = Model(6)
    model.settle(Target(3, 1))
    one, two = [pod for pod in model.pods if model.node(pod).slots][:2]
    return model, one, two


def as_wished(model: Model, situation: Situation) -> None:
    """The cluster has its shape, and no replica shares a machine with its primary."""
    target = situation.target
    held = {pod: slots for pod, slots in situation.held.items() if slots}
    assert frozenset[int]().union(*held.values()) == EVERY
    assert len(held) == target.primaries
    assert max(map(len, held.values())) - min(map(len, held.values())) <= SLOTS // target.primaries * 0.05
    staying = [p for p in model.pods if p < target.size]
    followers = {pod: [p for p in situation.followers(pod) if p in staying] for pod in held}
    assert {len(found) for found in followers.values()} == {target.replicas}
    views = situation.views
    shared = [p for pod, found in followers.items() for p in found if views[p].place == views[pod].place]
    assert shared == []


@pytest.mark.parametrize(("primaries", "replicas"), [(3, 1), (3, 2), (5, 1)])
def test_nodes_that_know_nothing_become_a_cluster(primaries: int, replicas: int) -> None:
    target = Target(primaries, replicas)
    model = Model(target.size, machines=max(3, replicas + 2))
    as_wished(model, model.settle(target))


@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(0, 3), max_size=60))
def test_a_creation_may_be_interrupted_anywhere(stops: list[int]) -> None:
    model = Model(6)
    as_wished(model, model.settle(Target(3, 1), stops))


@settings(max_examples=8, deadline=None)
@given(stops=st.lists(st.integers(0, 2), max_size=80))
def test_size_changes_both_ways_whatever_interrupts_it(stops: list[int]) -> None:
    model = Model(6)
    model.settle(Target(3, 1))
    for pod in range(6, 10):
        model.nodes[f"n{pod}"] = Node(ip=f"10.0.0.{pod}")
        model.pods[pod] = f"n{pod}"
    as_wished(model, model.settle(Target(5, 1), list(stops)))
    situation = model.settle(Target(3, 1), list(stops))
    assert is_drained(situation)
    for pod in range(6, 10):
        del model.pods[pod]
    as_wished(model, model.settle(Target(3, 1)))
    assert sorted(model.forgotten) == ["n6", "n7", "n8", "n9"]


@settings(max_examples=8, deadline=None)
@given(lost=st.lists(st.integers(0, 5), max_size=4), moved=st.sets(st.integers(0, 5)))
def test_lost_volumes_and_new_addresses_are_healed(lost: list[int], moved: set[int]) -> None:
    model = Model(6)
    model.settle(Target(3, 1))
    for pod in moved:
        model.node(pod).ip = f"10.2.0.{pod}"
    for pod in lost:
        model.lose(pod)
    situation = model.settle(Target(3, 1))
    as_wished(model, situation)
    assert is_whole(situation)


def test_a_node_that_is_away_is_neither_forgotten_nor_robbed() -> None:
    model = Model(6)
    model.settle(Target(3, 1))
    before = {name: node.slots for name, node in model.nodes.items()}
    away = [pod for pod in model.pods if model.node(pod).slots][:1]
    away += [pod for pod in model.pods if model.node(pod).primary == model.pods[away[0]]]
    for pod in away:
        del model.pods[pod]
    model.settle(Target(3, 1))
    assert model.forgotten == []
    assert {name: node.slots for name, node in model.nodes.items()} == before


def test_nodes_that_lost_everything_wait_for_the_others() -> None:
    model = Model(6)
    for pod in range(1, 6):
        del model.pods[pod]
    assert plan(model.situation(Target(3, 1))) == []


def test_an_open_slot_is_moved_to_its_end_and_one_that_nobody_gives_is_closed() -> None:
    model, source, target = settled()
    slots = model.open(source, target)
    assert plan(model.situation(Target(3, 1))) == [Move(source, target, slots)]
    model.node(source).open_slots = (OpenSlot(min(slots), importing=False, other="unknown"),)
    assert plan(model.situation(Target(3, 1))) == [Close(source, slots)]


def test_what_a_replica_says_of_open_slots_is_left_to_its_primary() -> None:
    # Valkey tells replicas too, which refuse to move or close a slot.
    model, source, target = settled()
    slots = model.open(source, target)
    situation = model.situation(Target(3, 1))
    for pod in (source, target):
        (replica,) = situation.followers(pod)
        model.node(replica).open_slots = model.node(pod).open_slots
    model.node(situation.followers(target)[0]).open_slots = (
        OpenSlot(min(slots), importing=True, other=model.pods[source]),
    )
    assert plan(model.situation(Target(3, 1))) == [Move(source, target, slots)]


def test_a_cluster_with_an_empty_extra_primary_has_not_its_shape() -> None:
    model, primary, _ = settled()
    situation = model.situation(Target(3, 1))
    assert is_whole(situation)
    assert has_shape(situation)
    (replica,) = situation.followers(primary)
    model.node(replica).primary = ""
    situation = model.situation(Target(3, 1))
    assert is_whole(situation), "every slot is served, and every replica follows"
    assert not has_shape(situation)


def test_a_cluster_whose_slots_are_on_pods_that_leave_has_not_its_shape() -> None:
    model = Model(10)
    model.settle(Target(5, 1))
    assert has_shape(model.situation(Target(5, 1)))
    assert not has_shape(model.situation(Target(3, 1)))
    model.settle(Target(3, 1))
    assert has_shape(model.situation(Target(3, 1)))


def unheard(situation: Situation, pod: int, source: int) -> Situation:
    """The same, but the pod's node has not heard of the slots of the source's."""
    view, name = situation.views[pod], situation.views[source].me.id
    members = {**view.members, name: replace(view.members[name], slots=frozenset())}
    views = {**situation.views, pod: replace(view, members=members, whole=False)}
    return replace(situation, views=views)


def test_a_node_gets_no_slot_before_it_has_heard_who_has_it() -> None:
    model = Model(10)
    model.settle(Target(3, 1))
    wished = Target(5, 1)
    moves = [action for action in plan(model.situation(wished)) if isinstance(action, Move)]
    while not moves:
        for action in plan(model.situation(wished)):
            model.do(action)
        moves = [action for action in plan(model.situation(wished)) if isinstance(action, Move)]
    source, target = moves[0].source, moves[0].target
    left = plan(unheard(model.situation(wished), target, source))
    assert left == [move for move in moves if move.target != target]


def test_a_node_that_finds_the_cluster_incomplete_is_waited_for() -> None:
    model, source, target = settled()
    slots = model.open(source, target)
    found = model.situation(Target(3, 1))
    assert plan(found) == [Move(source, target, slots)]
    views = {**found.views, target: replace(found.views[target], whole=False)}
    assert plan(replace(found, views=views)) == []


def test_a_slot_that_was_opened_too_soon_is_closed_at_both_ends() -> None:
    model, source, target = settled()
    slots = model.open(source, target)
    model.node(target).open_slots = (OpenSlot(min(slots), importing=True, other=model.pods[source]),)
    actions = plan(unheard(model.situation(Target(3, 1)), target, source))
    assert sorted(actions, key=str) == sorted((Close(p, slots) for p in (source, target)), key=str)


def test_a_replica_that_copies_from_an_old_address_is_led_to_the_new_one() -> None:
    model, primary, _ = settled()
    whole = model.situation(Target(3, 1))
    (pod,) = whole.followers(primary)
    view, address = whole.views[pod], whole.views[primary].me.ip
    for linked, source, wished in (
        (False, "10.9.9.9", [Replicate(pod, primary)]),
        (False, address, []),  # on its way
        (True, "10.9.9.9", []),  # as another primary said that it may
    ):
        views = {**whole.views, pod: replace(view, linked=linked, source=source)}
        assert plan(replace(whole, views=views)) == wished


def test_nothing_is_planned_for_no_answer_and_for_a_whole_cluster() -> None:
    assert plan(Situation(Target(3, 1), {})) == []
    model = Model(6)
    assert plan(model.settle(Target(3, 1))) == []


def test_a_move_is_no_list_of_commands() -> None:
    with pytest.raises(TypeError, match="Move"):
        commands(Move(0, 1, frozenset({1})), {}, 6379)
