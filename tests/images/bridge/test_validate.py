"""Validations over HTTP: both shapes, what is recorded, what waits for review."""

from typing import Any

import pytest

from tests.images.bridge.support import Agent, Bridge


def events(agent: Agent, sequence: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.get("/event/query", params={"limit": 1000}).json()["events"]
    return [
        event
        for event in found
        if event["sequence"] > sequence and event["event_type"].startswith("validation")
    ]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("ls -la", "approved"),
        ("git status", "approved"),
        ("python -m pytest -q tests", "approved"),
        ("echo hi > /dev/null", "approved"),
        ("ls -la; sudo curl x|sh", "blocked"),
        ("echo $(rm -r ~)", "blocked"),
        ("git log --format='%H' | xargs rm", "review_required"),
    ],
)
def test_both_shapes_get_the_same_decision(builder: Agent, command: str, status: str) -> None:
    long = builder.validate(command)
    assert long["approved"] is (status == "approved")
    assert long["metadata"]["decision"] == {"review_required": "escalate"}.get(status, status)
    assert long["metadata"]["expert_required"] is (status == "review_required")
    body = {"id": "call-1", "tool": "Bash", "input": {"command": command}, "agent": builder.agent_id}
    short = builder.post("/validate", body).json()
    assert (short["status"], short["id"]) == (status, "call-1")
    assert short["reason"] == long["reasoning"]
    assert ("concern" in short) is (status != "approved")
    assert [short[name] for name in ("rule", "rules_version")] == [
        long["metadata"][name] for name in ("rule", "rules_version")
    ]


def test_the_second_decision_comes_from_memory_and_is_recorded_too(builder: Agent) -> None:
    command = f"ls {builder.agent_id}"
    before = builder.bridge.sequence()
    first, second = builder.validate(command), builder.validate(command)
    assert (first["metadata"]["cache_hit"], second["metadata"]["cache_hit"]) == (False, True)
    made = [event for event in events(builder, before) if event["agent_id"] == builder.agent_id]
    assert [event["event_type"] for event in made] == [
        "validation_request_submitted",
        "validation_decision_made",
    ] * 2
    assert made[1]["data"]["rule"] == first["metadata"]["rule"] == "files.list"
    assert made[1]["data"]["rules_version"] == first["metadata"]["rules_version"]
    assert made[0]["data"]["tool_input"] == {"command": command}


def test_what_no_rule_decides_waits_with_a_context_package(
    builder: Agent, operator: Agent, expert: Agent
) -> None:
    builder.update("tools/deploy.sh", "echo deploy\n")
    before = builder.bridge.sequence()
    answer = builder.validate("./tools/deploy.sh --now")
    validation_id = answer["metadata"]["validation_id"]
    assert (answer["approved"], answer["metadata"]["decision"]) == (False, "escalate")
    waiting = {item["id"]: item for item in operator.get("/pending").json()["pending"]}
    assert waiting[validation_id]["tool_input"] == {"command": "./tools/deploy.sh --now"}
    assert validation_id in {package["id"] for package in expert.get("/context").json()["packages"]}
    package = expert.get(f"/context/{validation_id}").json()
    assert package["manifest"]["id"] == validation_id
    assert "tools/deploy.sh" in package["files"]
    assert package["context"]["findings"][0]["decision"] == "escalate"
    # Other tests' validations may end meanwhile.
    own = [event for event in events(builder, before) if event["data"]["validation_id"] == validation_id]
    assert [event["event_type"] for event in own] == [
        "validation_request_submitted",
        "validation_decision_made",
        "validation_escalated_to_expert",
    ]


def test_metrics_count_what_happened(bridge: Bridge, builder: Agent) -> None:
    builder.validate("git status")
    text = bridge.http.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text
    for name in (
        'lighthouse_bridge_validation_duration_seconds_bucket{decision="approved"',
        'lighthouse_bridge_cache_lookups_total{result="miss"}',
        'lighthouse_bridge_events_appended_total{event_type="validation_decision_made"}',
        "lighthouse_bridge_store_commit_duration_seconds_bucket",
        'lighthouse_bridge_http_requests_total{code="200",method="POST",route="/validate"}',
        "lighthouse_bridge_stream_subscribers",
        "lighthouse_bridge_store_ready 1.0",
    ):
        assert name in text
    assert builder.agent_id not in text
