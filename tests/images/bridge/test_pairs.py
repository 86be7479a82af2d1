"""Pairs of agents: pending, active, completed or cancelled; who suggests and who reviews goes by the mode."""

from typing import Any

import pytest

from tests.images.bridge.support import Agent, Bridge


def request(agent: Agent, mode: str = "collaborative") -> str:
    """A session that waits for a partner."""
    body = {"requester": agent.agent_id, "task": "Fix the parser", "mode": mode}
    answer = agent.post("/pair/request", body)
    assert answer.json()["status"] == "pending", answer.text
    return str(answer.json()["session_id"])


def accept(agent: Agent, session_id: str) -> int:
    """Join it."""
    return agent.post("/pair/accept", {"session_id": session_id, "partner": agent.agent_id}).status_code


def suggest(agent: Agent, session_id: str) -> Any:
    """Make a suggestion."""
    body = {"session_id": session_id, "agent": agent.agent_id, "suggestion": "Use a table."}
    return agent.post("/pair/suggest", body)


def review(agent: Agent, session_id: str, suggestion_id: str, decision: str = "approve") -> Any:
    """Review one."""
    body = {
        "session_id": session_id,
        "suggestion_id": suggestion_id,
        "reviewer": agent.agent_id,
        "decision": decision,
        "feedback": "Good.",
    }
    return agent.post("/pair/review", body)


def end(agent: Agent, session_id: str, outcome: str) -> Any:
    """End it."""
    return agent.post("/pair/end", {"session_id": session_id, "agent": agent.agent_id, "outcome": outcome})


@pytest.mark.parametrize(
    ("decision", "status"), [("approve", "approved"), ("reject", "rejected"), ("modify", "modified")]
)
def test_a_pair_works_from_request_to_completion(
    builder: Agent, expert: Agent, decision: str, status: str
) -> None:
    session_id = request(builder)
    assert accept(expert, session_id) == 200
    suggestion = suggest(expert, session_id).json()["suggestion_id"]
    assert review(builder, session_id, suggestion, decision).json()["status"] == status
    assert end(builder, session_id, "completed").json()["status"] == "completed"
    (shown,) = [
        one for one in expert.get("/pair/sessions").json()["sessions"] if one["session_id"] == session_id
    ]
    assert (shown["partner"], shown["status"], shown["suggestions"][0]["status"]) == (
        expert.agent_id,
        "completed",
        status,
    )
    types = [
        event["event_type"]
        for event in builder.get("/event/query", params={"limit": 1000}).json()["events"]
        if event["aggregate_id"] == session_id
    ]
    reviewed = "pair_suggestion_rejected" if decision == "reject" else "pair_suggestion_accepted"
    assert types == ["custom", "pair_session_started", "pair_suggestion_made", reviewed, "pair_session_ended"]


@pytest.mark.parametrize(
    ("mode", "requester", "partner"),
    [("passive", 403, 200), ("active", 403, 200), ("collaborative", 200, 200), ("review", 200, 403)],
)
def test_the_mode_says_who_suggests(
    builder: Agent, expert: Agent, mode: str, requester: int, partner: int
) -> None:
    session_id = request(builder, mode)
    assert accept(expert, session_id) == 200
    assert suggest(builder, session_id).status_code == requester
    assert suggest(expert, session_id).status_code == partner


def test_states_follow_each_other_and_strangers_stay_out(
    bridge: Bridge, builder: Agent, expert: Agent
) -> None:
    stranger = bridge.join("expert")
    session_id = request(builder)
    assert accept(builder, session_id) == 403
    assert suggest(builder, session_id).status_code == 409
    assert end(builder, session_id, "completed").status_code == 409
    assert accept(expert, session_id) == 200
    assert accept(stranger, session_id) == 409
    assert suggest(stranger, session_id).status_code == 403
    assert end(stranger, session_id, "cancelled").status_code == 403
    suggestion = suggest(expert, session_id).json()["suggestion_id"]
    assert review(expert, session_id, suggestion).status_code == 403
    assert review(builder, session_id, "0" * 32).status_code == 404
    assert review(builder, session_id, suggestion).status_code == 200
    assert review(builder, session_id, suggestion).status_code == 409
    assert end(expert, session_id, "cancelled").status_code == 200
    assert suggest(expert, session_id).status_code == 409
    assert end(expert, session_id, "cancelled").status_code == 409
    assert accept(expert, "0" * 32) == 404
    listed = [one["session_id"] for one in stranger.get("/pair/sessions").json()["sessions"]]
    assert session_id not in listed


def test_sessions_are_listed_by_status(builder: Agent, expert: Agent, operator: Agent) -> None:
    waiting, joined = request(builder), request(builder)
    accept(expert, joined)
    for agent in (builder, operator):
        for status, wanted, other in (("pending", waiting, joined), ("active", joined, waiting)):
            found = agent.get("/pair/sessions", params={"status": status, "limit": 200}).json()["sessions"]
            assert wanted in [one["session_id"] for one in found]
            assert other not in [one["session_id"] for one in found]
