"""The two servers of the comparison: the bridge, and a policy server with the same rules."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lighthouse_bridge.decisions.rules import load_rules
from tests.bench.bridge.generator import wait_for, write_requests
from tests.bench.bridge.processes import pin
from tests.bench.bridge.rego import Parser, translate
from tests.images.bridge.support import REPOSITORY, RULES, Bridge, running
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from tests.bench.bridge.mix import Call
    from tests.images.bridge.support import Agent

POLICY = REPOSITORY / "tests" / "bench" / "bridge" / "rules.rego"
# Every control is on and counts; only what the run itself needs is admitted.
_SETTINGS = {
    "LIGHTHOUSE_AGENT_PER_MINUTE": "1000000",
    "LIGHTHOUSE_TOTAL_PER_SECOND": "1000000",
    "LIGHTHOUSE_REVIEW_SECONDS": "86400",
}


class Server(ABC):
    """A running server: where it is, and which process it is."""

    def __init__(self, address: str, pid: int, folder: Path) -> None:
        self.address = address
        self.pid = pid
        self.folder = folder

    @abstractmethod
    def requests(self, name: str, calls: Iterable[Call]) -> Path:
        """Write calls to a file as this server takes them."""

    def run_on(self, processors: str) -> None:
        """Keep it on some of the machine's processors."""
        pin(self.pid, processors)


class BridgeServer(Server):
    """The bridge, with sessions of as many agents as asked."""

    def __init__(self, bridge: Bridge, agents: int) -> None:
        super().__init__(f"127.0.0.1:{bridge.port}", bridge.pid, bridge.folder)
        self.bridge = bridge
        self.agents: Sequence[Agent] = [bridge.join("builder", f"agent-{n}") for n in range(agents)]

    def requests(self, name: str, calls: Iterable[Call]) -> Path:
        """Write the calls as its requests, from one agent after the other."""
        return write_requests(
            self.folder / f"{name}.requests",
            (self._request(call, self.agents[n % len(self.agents)]) for n, call in enumerate(calls)),
        )

    def _request(self, call: Call, agent: Agent) -> dict[str, Any]:
        return {
            "path": "/validate",
            # A session is used by the program that opened it, or by none.
            "headers": {**agent.headers, "User-Agent": self.bridge.http.headers["User-Agent"]},
            "body": {
                "tool_name": call.tool_name,
                "tool_input": call.tool_input,
                "agent_id": agent.agent_id,
                "wait_seconds": 0,
            },
            "expect": f'"decision":"{call.decision}"',
        }

    def metric(self, name: str, labels: str = "") -> float:
        """A value of its metrics."""
        text = self.bridge.http.get(f"http://127.0.0.1:{self.bridge.metrics_port}/metrics").text
        wanted = f"{name}{labels} "
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(wanted))

    def hits(self) -> tuple[float, float]:
        """How many decisions came from memory so far, and how many did not."""
        name = "lighthouse_bridge_cache_lookups_total"
        return self.metric(name, '{result="hit"}'), self.metric(name, '{result="miss"}')

    def sequence(self) -> int:
        """How many events it keeps."""
        return self.bridge.sequence()


class PolicyServer(Server):
    """OPA with the same rules, asked over HTTP; it neither authenticates, nor limits, nor records."""

    def requests(self, name: str, calls: Iterable[Call]) -> Path:
        """Write the calls as its requests."""
        parser = Parser(load_rules(RULES), ())
        return write_requests(
            self.folder / f"{name}.requests",
            (
                {
                    "path": "/v1/data/lighthouse/answer",
                    "headers": {},
                    "body": {"input": parser.question(call.tool_name, call.tool_input)},
                    "expect": f'"decision":"{call.decision}"',
                }
                for call in calls
            ),
        )


@contextmanager
def bridge_server(folder: Path, agents: int, **more: str) -> Iterator[BridgeServer]:
    """A bridge in a folder of its own, with `more` environment variables."""
    with running(Bridge(folder, {**_SETTINGS, **more})) as bridge:
        yield BridgeServer(bridge, agents)


@contextmanager
def policy_server(program: Path, folder: Path) -> Iterator[PolicyServer]:
    """OPA with the shipped rules."""
    folder.mkdir(parents=True)
    data = folder / "data.json"
    data.write_text(json.dumps(translate(load_rules(RULES))))
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(program),
                "run",
                "--server",
                f"--addr={address}",
                "--log-level=error",
                str(POLICY),
                str(data),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(address)
        yield PolicyServer(address, process.pid, folder)
    finally:
        process.kill()
        process.wait()
