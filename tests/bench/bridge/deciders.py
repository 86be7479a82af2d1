"""The dearer deciders: the classifier's calls, and what the bridge spends when an expert or a person decides.

Experts and people are asked one after the other: what they take is their own time, and the figure is the bridge's.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.bench.bridge.mix import Call
from tests.bench.bridge.processes import processor_seconds
from tests.images.bridge.experts import Expert, always, ask, working
from tests.images.bridge.labelled import load_calls

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.bridge.servers import BridgeServer


def pattern_calls(server: BridgeServer) -> list[Call]:
    """Dangerous commands of the corpus that the rules leave open and the classifier blocks."""
    found = []
    calls = [call for call in load_calls() if call.label == "dangerous" and call.tool == "Bash"]
    for number, call in enumerate(calls):
        text = call.tool_input.get("command")
        if isinstance(text, str) and "\n" not in text:
            agent = server.agents[number % len(server.agents)]
            answer = ask(agent, f"{text} # {number}", wait_seconds=0)
            if answer["metadata"]["rule"] == "pattern.dangerous":
                found.append(Call("Bash", {"command": text}, "blocked"))
    if not found:
        raise SystemExit("The classifier blocks no command of the corpus; make patterns says how it does.")
    return found


def by_expert(server: BridgeServer, count: int) -> dict[str, float]:
    """Reviews that one expert approves: asked, queued, taken, answered, settled and told."""
    expert = Expert(server.bridge, "bench-expert")
    agent = server.agents[0]

    def decide(number: int) -> None:
        answer = ask(agent, f"./tools/expert-{number}.sh")
        if not answer["approved"]:
            raise SystemExit(f"The expert's approval did not arrive: {answer}")

    with working(expert, always("approve")):
        return _measured(server, count, decide)


def by_person(server: BridgeServer, count: int) -> dict[str, float]:
    """Reviews that nobody took and an operator approves."""
    agent, operator = server.agents[1], server.bridge.join("operator")

    def decide(number: int) -> None:
        asked = ask(agent, f"./tools/person-{number}.sh", wait_seconds=0)
        body = {"id": asked["metadata"]["validation_id"], "status": "approved", "reason": "It was looked at."}
        answer = operator.post("/approve", body)
        if answer.status_code != 200:
            raise SystemExit(f"The operator's approval was refused: {answer.text}")

    return _measured(server, count, decide)


def _measured(server: BridgeServer, count: int, decide: Callable[[int], None]) -> dict[str, float]:
    began, before = time.monotonic(), processor_seconds(server.pid)
    for number in range(count):
        decide(number)
    spent = processor_seconds(server.pid) - before
    return {"rate": count / (time.monotonic() - began), "server_us": 1e6 * spent / count}
