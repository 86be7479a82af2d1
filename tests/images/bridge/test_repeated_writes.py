"""Writes that are repeated or cut off: a batch is there whole or not at all, a key is one event on every bridge."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.images.bridge.postgres import Postgres
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # real servers, killed again and again

SIZE = 9
WRITERS = 4


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest, start_bridge: Callable[..., Bridge]) -> Bridge:
    """A bridge of the test's own, on each engine."""
    if request.param == "sqlite":
        return start_bridge()
    return start_bridge(postgres=request.getfixturevalue("postgres").create_database())


class Batches:
    """Writers of batches. Every other batch is repeated until it is acknowledged; the rest are sent once."""

    def __init__(self, own: Bridge) -> None:
        self.own = own
        self.acknowledged: dict[str, tuple[int, int]] = {}
        self.unanswered: set[str] = set()
        self.wrong: list[str] = []
        self._ending = threading.Event()
        agents = [own.join("builder") for _ in range(WRITERS)]
        self._threads = [threading.Thread(target=self._write, args=(agent,)) for agent in agents]

    def __enter__(self) -> "Batches":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def grow(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        self.own.wait_for(lambda: len(self.acknowledged) >= wanted, 90)

    def _write(self, agent: Agent) -> None:
        n = 0
        with httpx.Client(base_url=self.own.url, headers=agent.headers, timeout=30) as http:
            while not self._ending.is_set():
                name = f"{agent.agent_id}-{n}"
                if self._send(http, name) or n % 2:
                    n += 1

    def _send(self, http: httpx.Client, name: str) -> bool:
        events = [
            {
                "event_type": "custom",
                "event_id": f"{name}-{part}",
                "aggregate_id": name,
                "data": {"part": part},
            }
            for part in range(SIZE)
        ]
        try:
            answer = http.post("/events/batch", json={"events": events})
        except httpx.TransportError:
            self.unanswered.add(name)
            time.sleep(0.02)
            return False
        if answer.status_code == 200:
            self.acknowledged[name] = (answer.json()["first_sequence"], answer.json()["last_sequence"])
            return True
        if answer.status_code != 503:
            self.wrong.append(answer.text)
        return False


def stored(operator: Agent) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    while True:
        after = events[-1]["sequence"] if events else 0
        page = operator.get("/events", params={"types": "custom", "after": after, "limit": 5000}).json()
        events += page["events"]
        if not page["more"]:
            return events


def test_a_batch_of_a_killed_bridge_is_there_whole_or_not_at_all(own: Bridge) -> None:
    with Batches(own) as load:
        for _ in range(5):
            load.grow(25)
            own.kill()
            own.start()
        load.grow(10)
    assert load.wrong == []
    operator = own.join("operator")
    places: dict[str, list[int]] = {}
    for event in stored(operator):
        places.setdefault(event["aggregate_id"], []).append(event["sequence"])
    torn = {name: at for name, at in places.items() if at != list(range(at[0], at[0] + SIZE))}
    assert torn == {}
    lost = [name for name, ends in load.acknowledged.items() if places.get(name, [0])[0] != ends[0]]
    assert lost == []
    # Some were cut off by the kill: of those, too, nothing is there in part.
    assert load.unanswered
    assert operator.get("/events/verify", params={"limit": 50_000}).json()["problems"] == []


def test_one_key_sent_to_two_bridges_at_once_is_one_event(
    postgres: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    server = postgres.create_database()
    bridges = [start_bridge(postgres=server) for _ in range(2)]
    builder = bridges[0].join("builder")
    together = threading.Barrier(4)

    def send(place: int, key: str, path: str, body: Any) -> Any:
        with httpx.Client(base_url=bridges[place % 2].url, headers=builder.headers, timeout=30) as http:
            http.get("/health")
            together.wait(30)
            answer = http.post(path, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text
        return answer.json()

    with ThreadPoolExecutor(4) as pool:
        for n in range(25):
            event = {"event_type": "custom", "aggregate_id": "keys", "data": {"n": n}}
            path, body = ("/events", event) if n % 2 else ("/events/batch", {"events": [event, event]})
            answers = list(pool.map(send, range(4), [f"key-{n}"] * 4, [path] * 4, [body] * 4))
            assert answers == [answers[0]] * 4
    found = Counter(event["data"]["n"] for event in stored(bridges[1].join("operator")))
    assert found == {n: 1 if n % 2 else 2 for n in range(25)}
