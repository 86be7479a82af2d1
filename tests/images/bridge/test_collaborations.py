"""Collaborations: available experts, a channel that only members read, an end."""

import pytest

from tests.images.bridge.experts import Expert
from tests.images.bridge.support import Agent, Bridge


@pytest.fixture
def experts(bridge: Bridge, builder: Agent) -> list[Expert]:
    return [Expert(bridge, f"{builder.agent_id}-{n}") for n in range(2)]


def test_members_talk_and_nobody_else_listens(
    bridge: Bridge, builder: Agent, operator: Agent, experts: list[Expert]
) -> None:
    names = [expert.agent_id for expert in experts]
    body = {"participants": names, "objective": "Find the leak"}
    started = builder.post("/collaboration/start", body).json()
    assert started["participants"] == sorted([*names, builder.agent_id])
    session_id = started["session_id"]
    first = experts[0].agent.post("/collaboration/message", {"session_id": session_id, "message": "one"})
    builder.post("/collaboration/message", {"session_id": session_id, "message": "two"})
    for member in (builder, operator, *(expert.agent for expert in experts)):
        channel = member.get(f"/collaboration/{session_id}").json()
        assert [one["message"] for one in channel["messages"]] == ["one", "two"]
    after = builder.get(f"/collaboration/{session_id}", params={"after": first.json()["sequence"]}).json()
    assert [(one["agent"], one["message"]) for one in after["messages"]] == [(builder.agent_id, "two")]
    stranger = bridge.join("builder")
    assert stranger.get(f"/collaboration/{session_id}").status_code == 404
    message = {"session_id": session_id, "message": "x"}
    assert stranger.post("/collaboration/message", message).status_code == 404
    assert stranger.post("/collaboration/end", {"session_id": session_id}).status_code == 404
    for _ in range(2):
        assert experts[1].agent.post("/collaboration/end", {"session_id": session_id}).status_code == 200
    assert builder.post("/collaboration/message", message).status_code == 409
    assert builder.get(f"/collaboration/{session_id}").json()["status"] == "ended"


def test_only_available_experts_are_drawn_in(builder: Agent, experts: list[Expert]) -> None:
    assert builder.post("/collaboration/start", {"participants": ["nobody-at-all"]}).status_code == 404
    task = {"target_agent": experts[0].agent_id, "task_description": "Keep busy"}
    assert builder.post("/task/dispatch", task).status_code == 200
    body = {"participants": [expert.agent_id for expert in experts]}
    assert builder.post("/collaboration/start", body).status_code == 409
