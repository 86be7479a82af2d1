"""Clients of the edge that ask all the time, to see whether a change loses them a request."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from tests.production.edge.outside import Outside

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
