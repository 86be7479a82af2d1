"""Experts of the tests: real sessions that take work and answer as told."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.images.bridge.support import Agent, Bridge

Opinion = tuple[str, float]


class Expert:
    """A registered expert."""

    def __init__(
        self,
        bridge: Bridge,
        agent_id: str,
        agent_type: str = "security",
        *capabilities: str,
        shared_key: bool = False,
    ) -> None:
        self.agent = bridge.join("expert", agent_id, shared_key=shared_key)
        self.agent_id = agent_id
        body = {
            "agent_id": agent_id,
            "agent_type": agent_type,
            "capabilities": capabilities or ("security_audit",),
        }
        assert self.agent.post("/expert/register", body).status_code == 200

    def take(self, wait: float = 5) -> dict[str, Any] | None:
        """The next work, or None."""
        answer = self.agent.get("/expert/work", params={"wait": wait}, timeout=wait + 10)
        assert answer.status_code == 200, answer.text
        work: dict[str, Any] | None = answer.json()["work"]
        return work

    def work(self) -> dict[str, Any]:
        """The next work, which must come."""
        work = self.take()
        assert work is not None
        return work

    def answer(self, work: dict[str, Any], decision: str, confidence: float = 0.9) -> httpx.Response:
        """Answer a validation."""
        body = {
            "work_id": work["work_id"],
            "decision": decision,
            "confidence": confidence,
            "reasoning": f"{self.agent_id} says {decision}.",
        }
        return self.agent.post("/expert/answer", body)


@contextmanager
def working(expert: Expert, opinion: Callable[[dict[str, Any]], Opinion]) -> Iterator[None]:
    """The expert answers all its work in a thread until the end of the block."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.is_set():
            work = expert.take(0.2)
            if work is not None:
                expert.answer(work, *opinion(work))

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def always(decision: str, confidence: float = 0.9) -> Callable[[dict[str, Any]], Opinion]:
    """The same opinion on everything."""
    return lambda _work: (decision, confidence)


def ask(agent: Agent, command: str, **more: Any) -> dict[str, Any]:
    """The answer of POST /validate."""
    body = {"tool_name": "Bash", "tool_input": {"command": command}, "agent_id": agent.agent_id, **more}
    answer = agent.post("/validate", body, timeout=40)
    assert answer.status_code == 200, answer.text
    decoded: dict[str, Any] = answer.json()
    return decoded


def events(agent: Agent, validation_id: str) -> list[tuple[str, Any]]:
    """Types and decisions of a validation's events, in order."""
    found = agent.get("/event/query", params={"limit": 1000}).json()["events"]
    return [
        (event["event_type"], event["data"].get("decision"))
        for event in found
        if event["aggregate_id"] == validation_id
    ]
