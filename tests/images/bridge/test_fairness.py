"""One agent that asks for everything at once cannot keep experts, or people, from the others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.images.bridge.experts import Expert, ask
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # hundreds of validations that wait


def flood(agent: Agent, count: int) -> list[dict[str, Any]]:
    """Ask for many calls that nobody decides."""
    with ThreadPoolExecutor(16) as pool:
        return list(
            pool.map(lambda n: ask(agent, f"./tools/{agent.agent_id}-{n}.sh", wait_seconds=0), range(count))
        )


def stages(bridge: Bridge) -> dict[str, list[str]]:
    """Who waits for whom."""
    found: dict[str, list[str]] = {}
    for one in bridge.join("operator").get("/pending", params={"limit": 1000}).json()["pending"]:
        found.setdefault(one["stage"], []).append(one["agent_id"])
    return found


def test_experts_serve_agents_by_turns(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    expert, noisy, quiet = Expert(own, "one"), own.join("builder", "noisy"), own.join("builder", "quiet")
    flood(noisy, 20)
    flood(quiet, 2)
    served = [expert.work()["requested_by"] for _ in range(6)]
    assert served == ["noisy", "quiet", "noisy", "quiet", "noisy", "noisy"]


def test_who_fills_the_queue_makes_room_for_others(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    Expert(own, "one")
    flood(own.join("builder", "noisy"), 120)
    before = stages(own)
    assert (len(before["experts"]), set(before["experts"])) == (100, {"noisy"})
    flood(own.join("builder", "quiet"), 5)
    after = stages(own)
    assert len(after["experts"]) == 100
    assert after["experts"].count("quiet") == 5
    assert "quiet" not in after["human"]


def test_too_much_undecided_is_refused_with_the_time_to_come_again(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    noisy, quiet = own.join("builder", "noisy"), own.join("builder", "quiet")
    flood(noisy, 500)
    call = {"tool_name": "Bash", "tool_input": {"command": "./tools/one-more.sh"}, "wait_seconds": 0}
    refused = noisy.post("/validate", {**call, "agent_id": "noisy"})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert "500 validations of 'noisy'" in refused.json()["detail"]
    assert ask(noisy, "ls")["approved"] is True
    assert quiet.post("/validate", {**call, "agent_id": "quiet"}).status_code == 200
