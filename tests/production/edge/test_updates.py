"""Nothing is lost at the edge while bridges and the controller are replaced, pod by pod."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from ci.operators import traefik
from ci.settings import NAMESPACE, RELEASE
from tests.live.support import eventually

if TYPE_CHECKING:
    from tests.production.edge.conftest import Release
    from tests.production.edge.outside import Outside
    from tests.production.reports import Report

pytestmark = pytest.mark.live

CLIENTS = 4
PAUSE_SECONDS = 0.05


class Load:
    """Clients that write and read without a pause until they are told to stop, each with a session of its own."""

    def __init__(self, outside: Outside, key: str) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        tokens = {f"load-{number}": outside.session(key, f"load-{number}") for number in range(CLIENTS)}
        self._threads = [
            threading.Thread(target=self._run, args=(outside, agent, token))
            for agent, token in tokens.items()
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, outside: Outside, agent: str, token: str) -> None:
        number = 0
        with outside.client(token) as client:
            while not self._stop.is_set():
                number += 1
                update = {
                    "operation": "update",
                    "file_path": agent,
                    "agent_id": agent,
                    "content": str(number),
                }
                try:
                    answers = [client.post("/shadow/update", json=update), client.get("/health")]
                    wrong = [
                        f"{agent} {answer.status_code} {answer.text}" for answer in answers if answer.is_error
                    ]
                except httpx.TransportError as error:
                    wrong = [f"{agent} {error!r}"]
                with self._lock:
                    self.failures += wrong
                    self.answered += 2
                self._stop.wait(PAUSE_SECONDS)


WORKLOADS = {
    "bridges": (NAMESPACE, f"deployment/{RELEASE}-bridge"),
    "controller": (traefik.NAMESPACE, "deployment/traefik"),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_rolling_update_loses_no_request(
    edge: Release, outside: Outside, name: str, report: Report
) -> None:
    namespace, workload = WORKLOADS[name]
    key = edge.key("operator")

    def ready() -> bool:
        with outside.client() as client:
            return client.get("/ready").status_code == 200

    eventually(ready, 60, "the bridge through the edge")
    with Load(outside, key) as load:
        eventually(lambda: load.answered > 10 * CLIENTS, 60, "requests before the update")
        begin = time.monotonic()
        edge.cluster.kubectl("rollout", "restart", workload, "-n", namespace)
        edge.cluster.kubectl("rollout", "status", workload, "-n", namespace, "--timeout=300s")
        seconds = time.monotonic() - begin
        before = load.answered
        eventually(lambda: load.answered > before + 10 * CLIENTS, 60, "requests after the update")
    report.row(
        f"Requests lost in an update of the {name} of {seconds:.0f} s",
        f"{len(load.failures)} of {load.answered}",
    )
    assert load.failures == []
