"""Load on bridges that share a store: writers that repeat what nobody acknowledged, and subscribers."""

import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from websockets.exceptions import InvalidHandshake

from tests.images.bridge.subscribers import WAYS, Address, Reader, reading
from tests.images.bridge.subscribers import events as subscribed

WRITERS = 3


@dataclass(frozen=True)
class Session:
    """A session as it is used on one site."""

    bridge: Address
    agent_id: str
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def on(bridge: Address, agent: Reader) -> Session:
    """The same session, used on another bridge."""
    return Session(bridge, agent.agent_id, agent.token)


class Load:
    """Clients that store events on whichever bridge answers, each under a key of its own, and subscribers."""

    def __init__(self, bridges: Sequence[Address], writer: Reader, reader: Reader) -> None:
        self.bridges, self.writer, self.reader = bridges, writer, reader
        self.start = int(httpx.get(bridges[0].url + "/status", timeout=20).json()["sequence"])
        self.stop = threading.Event()
        # The last event, once it is known: subscribers go on until they have seen it.
        self.last = sys.maxsize
        self.acknowledged: dict[str, int] = {}
        # When each was acknowledged, as of `time.monotonic`.
        self.times: list[float] = []
        self.seen: dict[str, list[int]] = {f"{way}-{n}": [] for way in WAYS for n in range(2)}
        # Daemons, so that a test that fails under load ends.
        self.threads = [
            threading.Thread(target=self._write, args=(writer, n), daemon=True) for n in range(WRITERS)
        ]
        self.threads += [
            threading.Thread(target=self._read, args=(reader, name), daemon=True) for name in self.seen
        ]

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()

    def _write(self, writer: Reader, client: int) -> None:
        count = 0
        while not self.stop.is_set():
            key = f"{writer.agent_id}-{client}-{count}"
            body = {"event_type": "custom", "aggregate_id": "load", "data": {"key": key}}
            headers = {**writer.headers, "Idempotency-Key": key}
            # The same event until somebody has acknowledged it: only then is it stored once for sure.
            while not self.stop.is_set():
                bridge = random.choice(self.bridges)  # noqa: S311 - spreads load
                try:
                    answer = httpx.post(bridge.url + "/event/store", json=body, headers=headers, timeout=20)
                except httpx.TransportError:
                    time.sleep(0.02)
                    continue
                if answer.status_code == 200:
                    self.acknowledged[key] = answer.json()["sequence"]
                    self.times.append(time.monotonic())
                    break
                assert answer.status_code == 503, answer.text
            count += 1

    def _read(self, reader: Reader, name: str) -> None:
        way = name.partition("-")[0]
        seen = self.seen[name]
        while not seen or seen[-1] < self.last:
            bridge = random.choice(self.bridges)  # noqa: S311 - any will do
            try:
                with reading(way, on(bridge, reader), seen[-1] if seen else self.start) as lines:
                    for line in lines:
                        if "says" not in line:
                            seen.append(line["sequence"])
                        if seen and seen[-1] >= self.last:
                            return
            except (httpx.HTTPError, OSError, EOFError, AssertionError, InvalidHandshake):
                time.sleep(0.05)

    def finish(self) -> str:
        """End the load and compare what clients were told with what is stored; returns the counts, in words."""
        self.stop.set()
        for thread in self.threads[:WRITERS]:
            thread.join(60)
        url, body = self.bridges[0].url, {"event_type": "custom", "data": {"last": True}}
        answer = httpx.post(url + "/event/store", json=body, headers=self.writer.headers, timeout=20)
        self.last = last = answer.json()["sequence"]
        for thread in self.threads[WRITERS:]:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)
        events: list[dict[str, Any]] = []
        with reading("ndjson", on(self.bridges[-1], self.reader), self.start) as lines:
            while not events or events[-1]["sequence"] < last:
                events += subscribed(lines, 1)
        stored = [event["data"]["key"] for event in events if "key" in event["data"]]
        sequence_of = {event["data"].get("key"): event["sequence"] for event in events}
        lost = [key for key, sequence in self.acknowledged.items() if sequence_of.get(key) != sequence]
        doubled = len(stored) - len(set(stored))
        truth = [event["sequence"] for event in events]
        counts = ", ".join(f"{name} {len(seen)}" for name, seen in self.seen.items())
        told = (
            f"{len(self.acknowledged)} events acknowledged, {len(lost)} lost, {doubled} doubled; of {len(events)} "
            f"events subscribers saw {counts}"
        )
        assert (lost, doubled) == ([], 0), told
        assert len(self.acknowledged) > 50, told
        for name, seen in self.seen.items():
            assert seen == truth, f"{name} has gaps, repetitions or another order: {told}"
        return told
