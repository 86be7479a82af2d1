"""The keeper with real Redis servers: it makes a cluster, heals it and changes its size."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from lighthouse_redis_keeper import keeper as keeper_module
from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.planner import Situation, is_whole
from lighthouse_redis_keeper.scale import scale
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.topology import SLOTS
from tests.images.redis_keeper.servers import settle, wait_for

if TYPE_CHECKING:
    from lighthouse_redis_keeper.keeper import Keeper
    from tests.images.redis_keeper.servers import Site

pytestmark = pytest.mark.heavy


def owners(site: Site, keeper: Keeper) -> dict[int, Server]:
    """A connection to the primary of each slot."""
    servers = {pod: Server(site.address(pod), site.access) for pod in keeper.situation.held}
    return {slot: servers[pod] for pod, slots in keeper.situation.held.items() for slot in slots}


def fill(site: Site, keeper: Keeper, count: int = 500) -> dict[str, str]:
    """Write keys to their primaries, each acknowledged."""
    owner = owners(site, keeper)
    keys = {f"lighthouse:cache:{n}": f"value {n}" for n in range(count)}
    for key, value in keys.items():
        owner[key_slot(key.encode())].ask("SET", key, value)
    return keys


def read(site: Site, keeper: Keeper, keys: dict[str, str]) -> dict[str, str]:
    """Read the keys back from whoever has their slots now."""
    owner = owners(site, keeper)
    return {key: owner[key_slot(key.encode())].text("GET", key) for key in keys}


def shared(keeper: Keeper) -> list[int]:
    """Replicas on the machine of their primary."""
    views = keeper.situation.views
    pods = keeper.situation.pod_of
    return [p for p, v in views.items() if v.me.primary and v.place == views[pods[v.me.primary]].place]


def test_servers_without_a_cluster_become_one(site: Site) -> None:
    keeper = site.keeper()
    seconds = settle(keeper)
    print(f"a cluster after {seconds:.1f} s")
    assert sorted(len(slots) for slots in keeper.situation.held.values()) == [5461, 5461, 5462]
    assert [len(keeper.situation.followers(pod)) for pod in keeper.situation.held] == [1, 1, 1]
    assert shared(keeper) == []
    assert site.keeper().step() == [], "a keeper that finds a whole cluster changes nothing"


def test_a_keeper_that_is_killed_at_every_step_still_makes_a_cluster(site: Site) -> None:
    wait_for(lambda: not site.keeper().step() and is_whole(_seen(site)), "whole by many keepers")


def _seen(site: Site) -> Situation:
    keeper = site.keeper()
    keeper.step()
    return keeper.situation


def test_all_servers_come_back_at_other_addresses_and_no_key_is_lost(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    keys = fill(site, keeper)
    time.sleep(1.2)  # the log of writes is flushed every second
    for _ in range(3):
        site.stop(*range(6))
        site.move(*range(6))
        site.start(*range(6))
        seconds = settle(keeper)
        print(f"whole {seconds:.1f} s after all servers came back elsewhere")
        assert seconds < 30
        assert read(site, keeper, keys) == keys


def test_a_replica_that_hears_from_others_where_its_primary_is_now_follows_it_there(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = keeper.situation.held
    (replica,) = keeper.situation.followers(pod)
    name = keeper.situation.views[pod].me.id
    # The others are so patient that they find nobody failed, and soon tell the replica where its primary is.
    for other in set(range(6)) - {pod, replica}:
        site.ask(other, "CONFIG", "SET", "cluster-node-timeout", 30_000)
    site.stop(pod, replica)
    site.move(pod, replica)
    site.start(replica)
    wait_for(lambda: site.answers(replica), "the replica answers")
    wait_for(lambda: "fail?" in site.view(replica).members[name].flags, "its primary is missed")
    site.start(pod)
    wait_for(
        lambda: site.view(replica).members[name].ip == site.address(pod), "the replica knows where it is", 20
    )
    settle(keeper, 30)
    assert site.view(replica).source == site.address(pod)


def test_a_lost_primary_is_replaced_and_comes_back_as_a_replica(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = keeper.situation.held
    site.stop(pod)

    def served() -> bool:
        keeper.step()
        return pod not in keeper.situation.views and sum(map(len, keeper.situation.held.values())) == SLOTS

    wait_for(served, "a replica serves the slots", 20)
    site.move(pod)
    site.start(pod)
    settle(keeper)
    assert pod not in keeper.situation.held


def test_a_replica_without_its_volume_joins_anew_and_the_old_name_is_forgotten(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = sorted(set(range(6)) - keeper.situation.held.keys())
    old = keeper.situation.views[pod].me.id
    site.stop(pod)
    site.lose(pod)
    site.move(pod)
    site.start(pod)

    def replaced() -> bool:
        keeper.step()
        views = keeper.situation.views.values()
        return keeper.done and not any(old in view.members for view in views)

    wait_for(replaced, "six nodes are known, and the old one is forgotten", 40)
    assert keeper.situation.views[pod].me.primary


def test_slots_whose_data_is_lost_are_served_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "GRACE_SECONDS", 5.0)
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = keeper.situation.held
    both = [pod, *keeper.situation.followers(pod)]
    site.stop(*both)
    for one in both:
        site.lose(one)
    site.move(*both)
    site.start(*both)
    settle(keeper, 90)
    assert sum(map(len, keeper.situation.held.values())) == SLOTS


def test_a_node_that_holds_slots_is_never_forgotten(site: Site) -> None:
    keeper = site.keeper()
    settle(keeper)
    (pod, *_) = keeper.situation.held
    both = [pod, *keeper.situation.followers(pod)]
    name = keeper.situation.views[pod].me.id
    site.stop(*both)
    for _ in range(8):
        keeper.step()
        time.sleep(1)
    assert all(name in view.members for view in keeper.situation.views.values())
    site.start(*both)
    settle(keeper)


def test_three_primaries_become_five_and_three_again_with_every_key(site: Site) -> None:
    small = site.keeper()
    settle(small)
    keys = fill(site, small, 2000)
    site.start(*range(6, 10))
    large = site.keeper(5)
    seconds = settle(large, 180)
    print(f"five primaries after {seconds:.1f} s")
    assert len([pod for pod, slots in large.situation.held.items() if slots]) == 5
    assert read(site, large, keys) == keys

    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            large.step()
            time.sleep(0.2)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert scale(site.settings(3), 180)
    finally:
        stop.set()
        worker.join()
    held = {pod: len(slots) for pod, slots in large.situation.held.items() if slots}
    assert set(held) <= set(range(6))
    site.stop(*range(6, 10))
    smaller = site.keeper(3)
    settle(smaller)
    assert read(site, smaller, keys) == keys

    def known() -> set[int]:
        smaller.step()
        return {len(view.members) for view in smaller.situation.views.values()}

    wait_for(lambda: known() == {6}, "the nodes that left are forgotten")


def test_resharding_that_is_interrupted_is_finished_by_the_next_keeper(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = site.keeper()
    settle(small)
    keys = fill(site, small, 1000)
    site.start(*range(6, 10))
    interrupted = 0
    ask_all = Server.ask_all

    def fragile(server: object, commands: list[tuple[object, ...]]) -> object:
        nonlocal interrupted
        if interrupted < 5 and commands[0][0] == "MIGRATE":
            interrupted += 1
            raise NodeError("the keeper's connection broke")
        return ask_all(server, commands)  # type: ignore[arg-type]

    monkeypatch.setattr(Server, "ask_all", fragile)
    for _ in range(40):
        site.keeper(5).step()
        if interrupted == 5:
            break
    assert interrupted == 5
    assert any(site.view(pod).me.open_slots for pod in range(10)), "slots are left open"
    large = site.keeper(5)
    settle(large, 180)
    assert not any(site.view(pod).me.open_slots for pod in range(10))
    assert read(site, large, keys) == keys
