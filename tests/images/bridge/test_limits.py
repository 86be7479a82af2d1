"""Requests are limited per agent and in all, over all bridges, whether Redis is there or not."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from lighthouse_bridge.auth_keys import AuthKeys
from lighthouse_bridge.decider import Decider
from lighthouse_bridge.decisions.verdict import Decision, Finding, Risk, combine
from lighthouse_bridge.redis_shared import RedisShared
from lighthouse_bridge.rulebook import Sources
from lighthouse_bridge.sealing import seal, unseal
from lighthouse_bridge.shared import LocalShared
from lighthouse_bridge.verdict_memory import VerdictMemory
from tests.images.bridge.redis_servers import ACL_USER, Server, standalone
from tests.images.bridge.sharing import settings
from tests.images.bridge.support import RULES, Agent, Bridge, running

pytestmark = pytest.mark.heavy  # processes and their clocks


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with standalone(tmp_path / "server") as server:
        yield server


@pytest.fixture
def two_bridges(tmp_path: Path, redis: Server) -> Iterator[list[Bridge]]:
    """Two bridges, each with a store of its own, that share a Redis."""
    env = {
        "LIGHTHOUSE_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        "LIGHTHOUSE_REDIS_USERNAME": ACL_USER,
        "LIGHTHOUSE_REDIS_PASSWORD_FILE": str(redis.password_file),
        "LIGHTHOUSE_REPLICAS": "2",
        "LIGHTHOUSE_AGENT_PER_MINUTE": "40",
    }
    with ExitStack() as stack:
        yield [stack.enter_context(running(Bridge(tmp_path / f"bridge-{n}", env))) for n in range(2)]


def admitted(agents: list[Agent], requests: int) -> tuple[int, list[httpx.Response]]:
    """How many of the requests, made by turns, were admitted, and those that were not."""
    answers = [agents[n % len(agents)].get("/experts") for n in range(requests)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) + sum(answer.status_code == 200 for answer in answers) == requests
    return requests - len(refused), refused


def test_an_agent_has_its_burst_and_is_told_when_to_come_again(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_AGENT_PER_MINUTE="40")
    noisy, quiet = own.join("builder"), own.join("builder")
    count, refused = admitted([noisy], 30)
    assert 20 <= count <= 22
    assert {int(answer.headers["Retry-After"]) for answer in refused} <= {1, 2}
    assert "at most 40 in 60 s" in refused[0].json()["detail"]
    assert quiet.get("/experts").status_code == 200
    assert own.http.get("/ready").status_code == 200
    text = own.http.get(f"http://127.0.0.1:{own.metrics_port}/metrics").text
    assert f'lighthouse_bridge_requests_limited_total{{limit="agent"}} {len(refused)}.0' in text


def test_all_agents_together_keep_to_the_total(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_TOTAL_PER_SECOND="10")
    agents = [own.join("builder") for _ in range(5)]
    begin = time.monotonic()
    count, refused = admitted(agents, 60)
    assert 10 <= count <= 11 + 10 * (time.monotonic() - begin)
    assert refused


def test_bridges_count_together_and_without_redis_each_keeps_to_its_share(
    two_bridges: list[Bridge], redis: Server
) -> None:
    agents = [bridge.join("builder", "same") for bridge in two_bridges]
    count, _ = admitted(agents, 40)
    assert 20 <= count <= 22
    redis.signal(signal.SIGSTOP)
    try:
        # A fresh agent: what Redis counted is not known now, the halves of the burst are.
        agents = [bridge.join("builder", "other") for bridge in two_bridges]
        begin = time.monotonic()
        count, _ = admitted(agents, 40)
        assert 20 <= count <= 22 + 40 * (time.monotonic() - begin) / 60
        assert time.monotonic() - begin < 10
        assert all(bridge.http.get("/ready").status_code == 200 for bridge in two_bridges)
    finally:
        redis.signal(signal.SIGCONT)


def keys_of(folder: Path, key: str) -> AuthKeys:
    file = folder / key[:1]
    file.write_text(key)
    return AuthKeys(file)


def test_nobody_who_can_write_to_redis_can_plant_a_verdict(redis: Server, tmp_path: Path) -> None:
    async def work() -> None:
        shared = RedisShared(settings(redis))
        await shared.start()
        ours = VerdictMemory(shared, keys_of(tmp_path, "s" * 48), ())
        theirs = VerdictMemory(shared, keys_of(tmp_path, "t" * 48), ())
        approval = combine([Finding(Decision.APPROVE, Risk.LOW, "planted", "", "")])
        await ours.remember("mine", approval)
        assert await ours.recall("mine") == approval
        await theirs.remember("planted", approval)
        assert await ours.recall("planted") is None
        assert await VerdictMemory(shared, keys_of(tmp_path, "s" * 48), ("/srv",)).recall("mine") is None
        await shared.renew()
        while shared.generation() is None:
            await asyncio.sleep(0.05)
        assert await ours.recall("mine") is None
        await shared.close()

    asyncio.run(work())


def test_a_sealed_value_counts_for_its_name_and_secret_alone() -> None:
    sealed = seal(b"secret", "a", b"value")
    assert unseal([b"older", b"secret"], "a", sealed) == b"value"
    forged = (
        ("b", sealed),
        ("a", sealed + b"x"),
        ("a", sealed[:20]),
        ("a", b""),
        ("a", b"\0" * 32 + b"value"),
    )
    assert [unseal([b"older", b"secret"], name, value) for name, value in forged] == [None] * 5
    assert unseal([b"other"], "a", sealed) is None


def test_bridges_share_what_takes_long_to_judge_and_memory_ends_with_its_generation(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        shared = LocalShared()
        first, second = (
            Decider(Sources(RULES), VerdictMemory(shared, keys_of(tmp_path, "s" * 48), ())) for _ in range(2)
        )
        first.load()
        second.load()
        long = {"command": "ls " + "a" * 4000}
        verdict, _, hit = await first.decide("Bash", long)
        assert not hit
        assert await second.decide("Bash", long) == (verdict, second.version, True)
        assert (await first.decide("Bash", {"command": "ls"}))[2] is False
        assert (await first.decide("Bash", {"command": "ls"}))[2] is True
        await shared.renew()
        assert (await first.decide("Bash", {"command": "ls"}))[2] is False
        assert (await second.decide("Bash", long))[2] is False

    asyncio.run(work())


def test_memory_is_not_trusted_while_the_generation_is_unknown(redis: Server, tmp_path: Path) -> None:
    async def work() -> None:
        shared = RedisShared(settings(redis, seconds=0.2))
        await shared.start()
        decider = Decider(Sources(RULES), VerdictMemory(shared, keys_of(tmp_path, "s" * 48), ()))
        decider.load()
        assert [(await decider.decide("Bash", {"command": "ls"}))[2] for _ in range(2)] == [False, True]
        redis.signal(signal.SIGSTOP)
        while shared.generation() is not None:
            await asyncio.sleep(0.05)
        answers = [await decider.decide("Bash", {"command": "ls"}) for _ in range(2)]
        assert [(verdict.decision, hit) for verdict, _, hit in answers] == [(Decision.APPROVE, False)] * 2
        redis.signal(signal.SIGCONT)
        await shared.close()

    asyncio.run(work())


def test_roles_have_their_own_limits_and_reading_the_tree_does_not_count(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_AGENT_PER_MINUTE="20")
    counts = {role: admitted([own.join(role)], 110)[0] for role in ("builder", "expert", "operator")}
    assert 10 <= counts["builder"] <= 13
    assert 20 <= counts["expert"] <= 24
    assert counts["operator"] >= 100
    reader = own.join("builder")
    assert {reader.get("/shadow/tree").status_code for _ in range(40)} == {200}


def test_registrations_of_an_expert_are_limited(start_bridge: Callable[..., Bridge]) -> None:
    agent = start_bridge().join("expert")
    body = {"agent_id": agent.agent_id, "agent_type": "security", "capabilities": ["code_review"]}
    codes = [agent.post("/expert/register", body).status_code for _ in range(14)]
    assert codes[:10] == [200] * 10
    assert 429 in codes[10:]
