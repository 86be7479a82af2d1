"""What nodes say of the cluster is read as it stands, and pods are placed by it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lighthouse_redis_keeper.placement import spread, together
from lighthouse_redis_keeper.topology import OpenSlot, TopologyError, ordinal_of, parse_nodes, ranges

NODES = (
    "aa 10.0.0.1:6379@16379,redis-0.nodes myself,master - 0 0 1 connected 0-2 7 [9->-bb] [8-<-bb]\n"
    "bb 10.0.0.2:6379@16379,redis-1.nodes slave,fail? aa 0 0 1 connected\n"
    "cc :0@0 master,noaddr - 0 0 1 disconnected 3-4\n"
)


def test_what_a_node_says_is_read() -> None:
    me, members = parse_nodes(NODES)
    assert (me.id, me.ip, me.host, me.primary, me.slots) == (
        "aa",
        "10.0.0.1",
        "redis-0.nodes",
        "",
        frozenset({0, 1, 2, 7}),
    )
    assert me.open_slots == (OpenSlot(9, False, "bb"), OpenSlot(8, True, "bb"))
    assert (members["bb"].primary, members["bb"].failed, members["bb"].settled) == ("aa", False, True)
    assert (members["cc"].settled, members["cc"].slots) == (False, frozenset({3, 4}))


@pytest.mark.parametrize("text", ["", "x", NODES.replace("myself,", "")])
def test_what_is_no_answer_of_a_node_is_refused(text: str) -> None:
    with pytest.raises(TopologyError, match="CLUSTER NODES"):
        parse_nodes(text)


@given(st.frozensets(st.integers(0, 200)))
def test_ranges_hold_exactly_their_slots(slots: frozenset[int]) -> None:
    assert {n for first, last in ranges(slots) for n in range(first, last + 1)} == slots
    assert all(b[0] - a[1] > 1 for a, b in zip(ranges(slots), ranges(slots)[1:], strict=False))


@pytest.mark.parametrize(
    ("host", "pod"), [("redis-3.nodes.svc", 3), ("a-redis-12", 12), ("redis", None), ("", None)]
)
def test_a_pod_is_known_by_the_name_of_its_node(host: str, pod: int | None) -> None:
    assert ordinal_of(host) == pod


@given(st.dictionaries(st.integers(0, 9), st.sampled_from("abc"), min_size=1), st.integers(0, 9))
def test_pods_are_spread_over_machines(places: dict[int, str], count: int) -> None:
    chosen = spread(places, count)
    assert len(chosen) == min(count, len(places))
    machines = {places[pod] for pod in chosen}
    assert len(machines) == min(len(chosen), len(set(places.values())))


def test_two_replicas_change_places_only_if_that_helps() -> None:
    places = {0: "a", 1: "b", 2: "a", 3: "b"}
    assert together(places, {2: 0, 3: 1}) == {2: 1, 3: 0}
    assert together(places, {2: 1, 3: 0}) == {}
