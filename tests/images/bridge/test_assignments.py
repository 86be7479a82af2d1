"""Delegations and tasks: given to one expert, which is busy until it completes them."""

from typing import Any

import pytest

from tests.images.bridge.experts import Expert
from tests.images.bridge.support import Agent, Bridge


@pytest.fixture
def one(bridge: Bridge, builder: Agent) -> Expert:
    """An expert with a capability of its own."""
    return Expert(bridge, f"expert-of-{builder.agent_id}", "database", f"of-{builder.agent_id}")


def delegate(agent: Agent, target: str, command: str = "./migrate.sh") -> Any:
    body = {"tool_name": "Bash", "tool_input": {"command": command}, "target_expert": target}
    return agent.post("/expert/delegate", body)


def status(agent: Agent, expert: Expert) -> str:
    experts = agent.get("/experts").json()["experts"]
    return str(next(e["status"] for e in experts if e["agent_id"] == expert.agent_id))


def test_a_delegation_occupies_its_expert_until_it_is_completed(builder: Agent, one: Expert) -> None:
    given = delegate(builder, one.agent_id).json()
    assert (given["status"], given["target_expert"], given["tool_name"]) == (
        "delegated",
        one.agent_id,
        "Bash",
    )
    assert status(builder, one) == "busy"
    assert delegate(builder, one.agent_id).status_code == 409
    work = one.work()
    assert (work["work_id"], work["kind"]) == (given["delegation_id"], "delegation")
    assert work["tool_input"] == {"command": "./migrate.sh"}
    path = f"/expert/assignment/{work['work_id']}"
    assert builder.get(path).json()["status"] == "working"
    done = {"work_id": work["work_id"], "status": "completed", "result": "It is safe."}
    assert one.agent.post("/expert/complete", done).status_code == 200
    assert one.agent.post("/expert/complete", done).status_code == 200
    assert one.agent.post("/expert/complete", {**done, "status": "failed"}).status_code == 409
    assert status(builder, one) == "available"
    ended = builder.get(path).json()
    assert (ended["status"], ended["result"]) == ("completed", "It is safe.")


def test_a_task_goes_to_an_expert_with_the_capability(builder: Agent, one: Expert) -> None:
    body = {
        "target_agent": f"of-{builder.agent_id}",
        "task_description": "Look at the index.",
        "priority": "high",
    }
    task = builder.post("/task/dispatch", body).json()
    assert task["status"] == "dispatched"
    work = one.work()
    assert (work["work_id"], work["kind"], work["task_description"]) == (
        task["task_id"],
        "task",
        "Look at the index.",
    )
    assert work["metadata"] == {"priority": "high"}
    other = one.agent.bridge.join("builder")
    assert other.get(f"/expert/assignment/{task['task_id']}").status_code == 404
    assert one.answer(work, "approve").status_code == 409


def test_what_cannot_be_delegated_is_said(builder: Agent, one: Expert) -> None:
    assert delegate(builder, "nobody").status_code == 404
    refused = delegate(builder, one.agent_id, "sudo rm -rf /")
    assert refused.status_code == 400
    assert "blocks" in refused.json()["detail"]
    assert status(builder, one) == "available"
    assert one.agent.post("/expert/delegate", {}).status_code == 403
