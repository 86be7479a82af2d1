"""Three bridges on one PostgreSQL and one Redis act as one, whichever of them is asked."""

import random
import re
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images.bridge.event_load import Load
from tests.images.bridge.experts import Expert, always, ask, working
from tests.images.bridge.postgres import Postgres
from tests.images.bridge.redis_servers import ACL_USER, Server, standalone
from tests.images.bridge.support import Agent, Bridge, running

pytestmark = pytest.mark.heavy  # real servers and processes

COMMAND = "frobnicate --replicas"
ENDED_SECONDS = 1.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with standalone(tmp_path / "server") as server:
        yield server


@pytest.fixture
def bridges(tmp_path: Path, redis: Server, postgres: Postgres) -> Iterator[list[Bridge]]:
    """Three bridges on a new database; they start at once, so that one of them makes the tables."""
    database = postgres.create_database()
    env = {
        "LIGHTHOUSE_REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        "LIGHTHOUSE_REDIS_USERNAME": ACL_USER,
        "LIGHTHOUSE_REDIS_PASSWORD_FILE": str(redis.password_file),
        "LIGHTHOUSE_REPLICAS": "3",
        "LIGHTHOUSE_SLOW_READER_SECONDS": "10",
        # Some tests ask as fast as they can.
        "LIGHTHOUSE_AGENT_PER_MINUTE": "0",
    }
    with ExitStack() as stack:
        made = [Bridge(tmp_path / f"bridge-{n}", env, database) for n in range(3)]
        for each in made:
            stack.enter_context(running(each))
        for each in made:
            each.wait_for(lambda each=each: each.http.get("/ready").status_code == 200, 30)
        yield made


def status(bridge: Bridge, agent: Agent) -> int:
    """What a bridge says to a session, wherever it was made."""
    return bridge.http.get("/experts", headers=agent.headers).status_code


def metrics(bridge: Bridge) -> str:
    """What Prometheus would read."""
    return bridge.http.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text


def end(bridge: Bridge, agent: Agent) -> int:
    return bridge.http.post("/session/end", headers=agent.headers).status_code


def test_a_session_made_on_one_bridge_works_on_all_and_ends_on_all(bridges: list[Bridge]) -> None:
    for _ in range(5):
        agent = bridges[0].join("builder")
        assert [status(bridge, agent) for bridge in bridges] == [200] * 3
        assert end(bridges[1], agent) == 200
        ended = time.monotonic()
        for bridge in bridges:
            while status(bridge, agent) != 401:
                assert time.monotonic() - ended < ENDED_SECONDS
                time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["frozen", "killed"])
def test_without_redis_sessions_work_and_end_on_all_within_a_second(
    bridges: list[Bridge], redis: Server, number: signal.Signals
) -> None:
    agent = bridges[0].join("builder")
    assert [status(bridge, agent) for bridge in bridges] == [200] * 3
    redis.signal(number)
    try:
        late = bridges[1].join("builder")
        assert [status(bridge, late) for bridge in bridges] == [200] * 3
        for one in (agent, late):
            assert end(bridges[2], one) == 200
            ended = time.monotonic()
            for bridge in bridges:
                while status(bridge, one) != 401:
                    assert time.monotonic() - ended < ENDED_SECONDS
                    time.sleep(0.02)
        assert all(bridge.http.get("/ready").status_code == 200 for bridge in bridges)
    finally:
        if number == signal.SIGSTOP:
            redis.signal(signal.SIGCONT)


def test_a_signed_message_counts_once_on_all_bridges_whatever_redis_forgets(
    bridges: list[Bridge], redis: Server
) -> None:
    asker, addressee = bridges[0].join("builder"), bridges[0].join("expert")
    body = {
        "from_agent": asker.agent_id,
        "to_agent": addressee.agent_id,
        "message": "Is it safe?",
        "schema": {"type": "object", "properties": {"safe": {"type": "boolean"}}},
    }

    def send(nonce: str) -> list[int]:
        elsewhere = [Agent(bridge, asker.agent_id, asker.token) for bridge in bridges]
        return [agent.send("/elicitation/create", body, nonce=nonce).status_code for agent in elsewhere]

    first, second = secrets.token_hex(16), secrets.token_hex(16)
    assert send(first) == [200, 401, 401]
    redis.stop()
    assert send(first) == [401] * 3
    assert send(second) == [200, 401, 401]
    redis.start()
    for bridge in bridges:
        bridge.wait_for(lambda bridge=bridge: 'circuit_open{tier="redis"} 0.0' in metrics(bridge))
    assert send(first) + send(second) == [401] * 6


def test_each_bridge_counts_the_events_that_it_appended_itself(bridges: list[Bridge]) -> None:
    def counted(bridge: Bridge) -> float:
        pattern = r'lighthouse_bridge_events_appended_total\{event_type="custom"\} (\S+)'
        return sum(map(float, re.findall(pattern, metrics(bridge))))

    agents = [bridge.join("builder") for bridge in bridges[:2]]
    for agent, count in zip(agents, (3, 4), strict=True):
        for _ in range(count):
            assert agent.post("/events", {"event_type": "custom", "data": {}}).status_code == 200
    last = max(bridge.sequence() for bridge in bridges)
    for bridge in bridges:
        bridge.wait_for(lambda bridge=bridge: bridge.sequence() == last)
    assert [counted(bridge) for bridge in bridges] == [3, 4, 0]


def test_an_expert_on_one_bridge_answers_what_came_in_on_another(bridges: list[Bridge]) -> None:
    expert = Expert(bridges[0], "security-1")
    builder = bridges[1].join("builder")
    begin = time.monotonic()
    with working(expert, always("approve", 0.95)):
        answer = ask(builder, COMMAND, wait_seconds=20)
    assert (answer["approved"], answer["metadata"]["expert_required"]) == (True, True), answer
    assert time.monotonic() - begin < 15
    # And what they decided counts on the third.
    again = ask(Agent(bridges[2], builder.agent_id, builder.token), COMMAND)
    assert (again["approved"], again["metadata"]["cache_hit"]) == (True, True), again


def test_a_person_approves_on_one_bridge_what_waits_on_another(bridges: list[Bridge]) -> None:
    builder, operator = bridges[1].join("builder"), bridges[2].join("operator")
    found: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: found.append(ask(builder, COMMAND, wait_seconds=20)))
    waiting.start()
    pending: list[dict[str, Any]] = []
    while not pending:
        pending = operator.get("/pending").json()["pending"]
        time.sleep(0.02)
    begin = time.monotonic()
    body = {"id": pending[0]["id"], "status": "approved", "reason": "It is fine."}
    assert operator.post("/approve", body).status_code == 200
    waiting.join(20)
    assert time.monotonic() - begin < 5
    assert found[0]["approved"] is True, found


def test_work_for_an_expert_that_waits_on_one_bridge_comes_from_another(bridges: list[Bridge]) -> None:
    expert = Expert(bridges[0], "architect-1", "architecture")
    builder = bridges[2].join("builder")
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(expert.take(20)))
    waiting.start()
    time.sleep(0.5)
    begin = time.monotonic()
    body = {"target_agent": "architect-1", "task_description": "Look at it."}
    task = builder.post("/task/dispatch", body).json()["task_id"]
    waiting.join(20)
    assert time.monotonic() - begin < 5
    assert found[0]["work_id"] == task


def test_nothing_is_lost_or_doubled_when_bridges_are_killed_at_random(
    bridges: list[Bridge], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = bridges[0].join("builder"), bridges[1].join("expert")
    load = Load(bridges, writer, reader)
    load.begin()
    kills = 20
    for _ in range(kills):
        time.sleep(random.uniform(0.1, 0.6))  # noqa: S311 - any moment
        victim = random.choice(bridges)  # noqa: S311 - any bridge
        victim.kill()
        victim.start()
    before = len(load.acknowledged)
    bridges[0].wait_for(lambda: len(load.acknowledged) > before + 10, 30)
    told = load.finish()
    with capsys.disabled():
        print(f"\n{kills} bridges killed: {told}")


def test_a_bridge_replaced_by_another_fails_no_request(bridges: list[Bridge]) -> None:
    """As a rolling update does: no new connection goes to the one that stops, and it answers what it has."""
    serving = list(bridges)
    builder = bridges[0].join("builder")
    answers: list[int] = []
    failures: list[str] = []
    stop = threading.Event()

    def ask_steadily() -> None:
        with ExitStack() as stack:
            clients = {bridge.url: stack.enter_context(httpx.Client(timeout=20)) for bridge in bridges}
            while not stop.is_set():
                bridge = random.choice(serving)  # noqa: S311 - spreads load
                try:
                    answer = clients[bridge.url].get(bridge.url + "/experts", headers=builder.headers)
                    answers.append(answer.status_code)
                except httpx.TransportError as error:
                    failures.append(repr(error))

    threads = [threading.Thread(target=ask_steadily) for _ in range(4)]
    for thread in threads:
        thread.start()
    for bridge in bridges:
        time.sleep(0.5)
        serving.remove(bridge)
        time.sleep(0.2)
        assert bridge.stop() == 0
        bridge.start()
        bridge.wait_for(lambda bridge=bridge: bridge.http.get("/ready").status_code == 200)
        serving.append(bridge)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {200}
    assert len(answers) > 50
