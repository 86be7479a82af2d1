"""Clients of a Redis that is away, of another kind, changed or not theirs: they fail soon and find it again."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ci.cluster.pki import Authority
from lighthouse_bridge.redis_settings import RedisSettings
from lighthouse_bridge.redis_shared import RedisShared
from lighthouse_bridge.shared import SharedAwayError
from tests.images.bridge.redis_servers import ACL_USER, Server, cluster, standalone
from tests.images.bridge.sharing import settings, until

pytestmark = pytest.mark.heavy  # real servers
T = TypeVar("T")


def away(error: type[BaseException] = SharedAwayError) -> Any:
    return pytest.raises(error, match="Redis is away")


async def eventually(call: Callable[[], Awaitable[T]], seconds: float = 10) -> T:
    """What the call answers once Redis is not away."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(SharedAwayError):
                return await call()
            await asyncio.sleep(0.05)


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
            # All at once, not one after another, which would take a minute.
            assert time.monotonic() - begin < 3
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
            # No answer that came too late is taken for that of another call. A busy machine may be late again.
            for name in names:
                value = await eventually(partial(shared.recall, name))
                assert value == (None if how == "killed" else name.encode())
            heard: list[str] = []
            shared.listen("session", heard.append)

            async def hear() -> None:
                while not heard:
                    await eventually(partial(shared.announce, "session", "x"))
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


def test_a_slot_that_moves_to_a_node_just_joined_counts_as_away_at_most(tmp_path: Path) -> None:
    joined = Server(tmp_path / "joined", cluster=True)

    async def ask(first: Server) -> None:
        shared = RedisShared(settings(first, in_cluster=True))
        await shared.start()
        joined.start()
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

    with cluster(tmp_path / "cluster") as servers:
        try:
            asyncio.run(ask(servers[0]))
        finally:
            joined.stop()
