"""What bridges share behaves the same in process, in one Redis and in a Redis cluster."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from lighthouse_bridge.redis_shared import RedisShared
from lighthouse_bridge.shared import MAX_VALUE_BYTES, LocalShared, Rate, Shared
from tests.images.bridge.redis_servers import Server, cluster, standalone
from tests.images.bridge.sharing import settings, until

pytestmark = pytest.mark.heavy  # real servers

Make = Callable[[], Shared]
SERVERS = ("one server", "cluster")


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with standalone(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


@pytest.fixture(params=["in process", *SERVERS])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes clients of one shared state; in process there is only one client."""
    if request.param == "in process":
        alone = LocalShared()
        return lambda: alone
    if request.param == "one server":
        server: Server = request.getfixturevalue("one_server")
        return lambda: RedisShared(settings(server))
    servers: list[Server] = request.getfixturevalue("whole_cluster")
    return lambda: RedisShared(settings(servers[0], in_cluster=True))


def run(make: Make, work: Callable[[Shared, Shared], Awaitable[None]]) -> None:
    """Do `work` with two clients of the shared state, as two bridges are."""

    async def both() -> None:
        first, second = make(), make()
        await first.start()
        await second.start()
        try:
            await work(first, second)
        finally:
            await first.close()
            await second.close()

    asyncio.run(both())


def unique(name: str) -> str:
    return f"{name}-{time.monotonic_ns()}"


def test_a_rate_admits_its_burst_and_then_its_pace(make: Make) -> None:
    async def work(first: Shared, second: Shared) -> None:
        name, rate = unique("rate"), Rate(count=20, seconds=1, burst=10)
        begin = time.monotonic()
        waits = await asyncio.gather(*((first, second)[i % 2].wait_for(name, rate) for i in range(60)))
        spent = time.monotonic() - begin
        admitted = waits.count(0.0)
        assert 10 <= admitted <= 10 + 20 * spent + 1
        assert 0 < min(wait for wait in waits if wait) <= 0.05 + 1e-3
        admitted = 0
        begin = time.monotonic()
        while (spent := time.monotonic() - begin) < 0.6:
            admitted += await first.wait_for(name, rate) == 0.0
            admitted += await second.wait_for(name, rate) == 0.0
        assert 20 * 0.5 <= admitted <= 20 * spent + 2

    run(make, work)


def test_rates_of_different_names_do_not_touch_each_other(make: Make) -> None:
    async def work(first: Shared, second: Shared) -> None:
        rate = Rate(count=1, seconds=60, burst=1)
        names = [unique(f"rate-{n}") for n in range(30)]
        assert [await first.wait_for(name, rate) for name in names] == [0.0] * 30
        assert all([59 < await second.wait_for(name, rate) <= 60 for name in names])

    run(make, work)


def test_a_value_is_kept_for_its_time_and_within_its_size(make: Make) -> None:
    async def work(first: Shared, second: Shared) -> None:
        name = unique("value")
        assert await first.recall(name) is None
        await first.keep(name, b"\x00\xff", 30)
        assert await second.recall(name) == b"\x00\xff"
        await second.forget(name)
        assert await first.recall(name) is None
        await first.keep(name, b"brief", 0.05)
        await asyncio.sleep(0.1)
        assert await second.recall(name) is None
        await first.keep(name, b"x" * (MAX_VALUE_BYTES + 1), 30)
        assert await first.recall(name) is None
        await first.keep(name, b"x" * MAX_VALUE_BYTES, 30)
        assert len(await first.recall(name) or b"") == MAX_VALUE_BYTES

    run(make, work)


def test_all_know_the_same_generation_and_learn_of_another_within_a_second(make: Make) -> None:
    async def work(first: Shared, second: Shared) -> None:
        await until(lambda: first.generation() is not None)
        await until(lambda: first.generation() == second.generation())
        before = first.generation()
        await first.renew()
        assert first.generation() != before
        assert await until(lambda: second.generation() not in {None, before}) < 1.0
        await until(lambda: first.generation() == second.generation())

    run(make, work)


def test_announcements_reach_all_who_listen(make: Make) -> None:
    async def work(first: Shared, second: Shared) -> None:
        heard: list[str] = []
        first.listen("session", lambda text: heard.append(f"first {text}"))
        second.listen("session", lambda text: heard.append(f"second {text}"))
        second.listen("other", lambda text: heard.append(f"wrong {text}"))

        async def announced() -> None:
            while len(set(heard)) < 2:
                await first.announce("session", "a b")
                await asyncio.sleep(0.05)

        await asyncio.wait_for(announced(), 5)
        assert set(heard) == {"first a b", "second a b"}

    run(make, work)


def test_memory_is_bounded_in_process() -> None:
    async def work() -> None:
        alone = LocalShared(entries=100)
        for n in range(1000):
            await alone.keep(f"v{n}", b"x", 60)
            await alone.wait_for(f"r{n}", Rate(1, 60, 1))
        assert await alone.recall("v999") == b"x"
        assert await alone.wait_for("r999", Rate(1, 60, 1)) > 0
        assert await alone.recall("v1") is None

    asyncio.run(work())
