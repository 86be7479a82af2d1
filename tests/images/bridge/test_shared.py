"""What bridges share behaves the same in process, in one Redis and in a Redis cluster; and when Redis is away."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from ci.cluster.pki import Authority
from lighthouse_bridge.redis_settings import RedisSettings
from lighthouse_bridge.redis_shared import RedisShared
from lighthouse_bridge.shared import MAX_VALUE_BYTES, LocalShared, Rate, Shared, SharedAwayError
from tests.images.bridge.redis_servers import ACL_USER, Server, cluster, standalone

pytestmark = pytest.mark.heavy  # real servers

Make = Callable[[], Shared]
SERVERS = ("one server", "cluster")


def settings(server: Server, *, in_cluster: bool = False, seconds: float = 1.0) -> RedisSettings:
    return RedisSettings(
        host="127.0.0.1",
        port=server.port,
        tls=False,
        cluster=in_cluster,
        username=ACL_USER,
        password_file=server.password_file,
        seconds=seconds,
    )


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


async def until(holds: Callable[[], bool], seconds: float = 5) -> float:
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - begin


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


def away(error: type[BaseException] = SharedAwayError) -> Any:
    return pytest.raises(error, match="Redis is away")


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_when_redis_is_away_calls_fail_soon_and_work_again_when_it_is_back(tmp_path: Path, how: str) -> None:
    async def work() -> None:
        with standalone(tmp_path) as server:
            shared = RedisShared(settings(server, seconds=0.3))
            await shared.start()
            names = [f"n{n}" for n in range(200)]
            for name in names:
                await shared.keep(name, name.encode(), 60)
            if how == "killed":
                server.stop()
            else:
                server.signal(signal.SIGSTOP)
            begin = time.monotonic()
            failures = await asyncio.gather(*map(shared.recall, names), return_exceptions=True)
            assert {type(failure) for failure in failures} == {SharedAwayError}
            assert time.monotonic() - begin < 0.6
            begin = time.monotonic()
            for _ in range(1000):
                with away():
                    await shared.recall("a")
            assert time.monotonic() - begin < 0.5
            await until(lambda: shared.generation() is None)
            if how == "killed":
                server.start()
            else:
                server.signal(signal.SIGCONT)
            await until(lambda: shared.generation() is not None, 10)
            # No answer that came too late is taken for that of another call.
            answers = await asyncio.gather(*map(shared.recall, names))
            assert answers == [None if how == "killed" else name.encode() for name in names]
            heard: list[str] = []
            shared.listen("session", heard.append)

            async def hear() -> None:
                while not heard:
                    await shared.announce("session", "x")
                    await asyncio.sleep(0.1)

            await asyncio.wait_for(hear(), 10)
            await shared.close()

    asyncio.run(work())


def test_a_bridge_starts_while_redis_is_away_and_finds_it_later(tmp_path: Path) -> None:
    async def work() -> None:
        server = Server(tmp_path / "redis")
        shared = RedisShared(settings(server, seconds=0.3))
        await shared.start()
        with away():
            await shared.keep("a", b"x", 60)
        server.start()
        try:
            await until(lambda: shared.generation() is not None, 10)
            await shared.keep("a", b"x", 60)
        finally:
            await shared.close()
            server.stop()

    asyncio.run(work())


def test_a_cluster_that_is_gone_is_away_until_it_is_back(tmp_path: Path) -> None:
    async def work(servers: list[Server]) -> None:
        shared = RedisShared(settings(servers[0], in_cluster=True, seconds=0.5))
        for server in servers:
            server.stop()
        await shared.start()
        for _ in range(3):
            with away():
                await shared.recall("a")
            await asyncio.sleep(0.5)
        for server in servers:
            server.start()
        await until(lambda: shared.generation() is not None, 40)
        await shared.keep("a", b"x", 60)
        await shared.close()

    with cluster(tmp_path) as servers:
        asyncio.run(work(servers))


def test_a_server_that_is_no_cluster_is_away_for_who_expects_one(tmp_path: Path) -> None:
    async def work() -> None:
        with standalone(tmp_path) as server:
            shared = RedisShared(settings(server, in_cluster=True))
            await shared.start()
            with away():
                await shared.recall("a")
            await shared.close()

    asyncio.run(work())


def test_a_cluster_that_loses_a_primary_serves_again_and_keeps_what_its_replica_had(tmp_path: Path) -> None:
    async def work(servers: list[Server]) -> None:
        shared = RedisShared(settings(servers[1], in_cluster=True, seconds=2))
        await shared.start()
        names = [f"n{n}" for n in range(60)]
        for name in names:
            await shared.keep(name, name.encode(), 120)
        await asyncio.sleep(1)
        servers[0].stop()

        async def all_kept() -> bool:
            try:
                return [await shared.recall(name) for name in names] == [name.encode() for name in names]
            except SharedAwayError:
                return False

        begin = time.monotonic()
        while not await all_kept():
            assert time.monotonic() - begin < 30
            await asyncio.sleep(0.1)
        await shared.close()

    with cluster(tmp_path) as servers:
        asyncio.run(work(servers))


def test_a_server_that_lost_its_memory_has_another_generation(tmp_path: Path) -> None:
    async def work() -> None:
        with standalone(tmp_path) as server:
            shared = RedisShared(settings(server))
            await shared.start()
            await shared.renew()
            await until(lambda: shared.generation() is not None)
            before = shared.generation()
            server.stop()
            server.start()
            await until(lambda: shared.generation() not in {None, before}, 10)
            await shared.close()

    asyncio.run(work())


def test_a_rotated_password_is_read_from_its_file(tmp_path: Path) -> None:
    async def work() -> None:
        with standalone(tmp_path) as server:
            shared = RedisShared(settings(server))
            await shared.start()
            await shared.keep("a", b"x", 60)
            server.cli("acl", "setuser", ACL_USER, "resetpass", ">second-password")
            server.cli("client", "kill", "user", ACL_USER)
            await until(lambda: shared.generation() is None)
            with away():
                await shared.recall("a")
            server.password_file.write_text("second-password\n")
            await until(lambda: shared.generation() is not None)
            assert await shared.recall("a") == b"x"
            await shared.close()

    asyncio.run(work())


def test_tls_needs_a_known_authority_and_the_client_s_certificate(tmp_path: Path) -> None:
    ours, other = (Authority(tmp_path / name, name) for name in ("ours", "other"))
    certificate, key = ours.issue("server", "redis", names=[IPv4Address("127.0.0.1")])
    client, client_key = ours.issue("client", "bridge")
    files = {"cert": certificate, "key": key, "ca-cert": ours.certificate}
    tls = tuple(word for name, file in files.items() for word in (f"--tls-{name}-file", str(file)))

    async def reached(wanted: RedisSettings) -> bool:
        shared = RedisShared(wanted)
        await shared.start()
        try:
            return shared.generation() is not None and await shared.recall(str(wanted)) is None
        finally:
            await shared.close()

    with standalone(tmp_path, tls=tls) as server:
        plain = settings(server)
        right = replace(
            plain, tls=True, ca_file=ours.certificate, certificate_file=client, key_file=client_key
        )
        assert asyncio.run(reached(right))
        for wrong in (
            plain,
            replace(right, ca_file=other.certificate),
            replace(right, certificate_file=None, key_file=None),
        ):
            assert not asyncio.run(reached(wrong)), wrong


def test_a_slot_that_moves_to_a_node_just_joined_counts_as_away_at_most(
    whole_cluster: list[Server], tmp_path: Path
) -> None:
    joined = Server(tmp_path / "joined", cluster=True)

    async def ask() -> None:
        shared = RedisShared(settings(whole_cluster[0], in_cluster=True))
        await shared.start()
        joined.start()
        first = whole_cluster[0]
        first.cli("cluster", "meet", "127.0.0.1", str(joined.port))
        identity = joined.cli("cluster", "myid")
        slot, name = next(
            (slot, name)
            for name in map(str, range(1000))
            if (
                slot := first.cli(
                    "cluster", "keyslot", f"lighthouse:value:{sha256(name.encode()).hexdigest()}"
                )
            )
            and int(slot) < 5000
        )
        await until(lambda: first.cli("cluster", "setslot", slot, "migrating", identity) == "OK")
        try:
            with pytest.raises(SharedAwayError):
                await shared.recall(name)
        finally:
            first.cli("cluster", "setslot", slot, "stable")
            await shared.close()

    try:
        asyncio.run(ask())
    finally:
        joined.stop()
