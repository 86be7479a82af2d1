"""What people decide: one validation or the same call in future, never against a rule that blocks."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images.bridge.experts import Expert, always, ask, events, working
from tests.images.bridge.support import RULES, Agent, Bridge


def approve(operator: Agent, answer: dict[str, Any], status: str = "approved", **more: Any) -> httpx.Response:
    body = {"id": answer["metadata"]["validation_id"], "status": status, "reason": "I looked at it.", **more}
    return operator.post("/approve", body)


@pytest.fixture
def command(builder: Agent) -> str:
    """A command no other test asks for."""
    return f"./tools/{builder.agent_id}.sh"


def test_once_is_once_and_for_the_agent_that_asked(
    bridge: Bridge, builder: Agent, operator: Agent, command: str
) -> None:
    first = ask(builder, command)
    decided = approve(operator, first).json()
    assert (decided["status"], decided["decided_by"]) == ("approved", operator.agent_id)
    other = bridge.join("builder")
    assert ask(other, command)["approved"] is False
    second = ask(builder, command)
    assert second["approved"] is True
    assert second["reasoning"] == f"Approved by {operator.agent_id}: I looked at it."
    assert ask(builder, command)["approved"] is False
    made = events(operator, first["metadata"]["validation_id"])
    assert made[-1] == ("validation_decision_made", "approved")
    used = events(operator, second["metadata"]["validation_id"])
    assert ("validation_policy_applied", None) in used


@pytest.mark.parametrize(("remember", "others"), [("agent", False), ("always", True)])
def test_a_standing_approval_holds_for_this_exact_call(
    bridge: Bridge, builder: Agent, operator: Agent, command: str, remember: str, others: bool
) -> None:
    assert approve(operator, ask(builder, command), remember=remember).status_code == 200
    assert [ask(builder, command)["approved"] for _ in range(3)] == [True] * 3
    assert ask(builder, command + " --force")["approved"] is False
    assert ask(bridge.join("builder"), command)["approved"] is others


def test_a_standing_approval_ends(builder: Agent, operator: Agent, command: str) -> None:
    assert approve(operator, ask(builder, command), remember="always", expires_in=1).status_code == 200
    assert ask(builder, command)["approved"] is True
    time.sleep(1.1)
    assert ask(builder, command)["approved"] is False


def test_a_refusal_is_remembered_too(builder: Agent, operator: Agent, command: str) -> None:
    assert approve(operator, ask(builder, command), "blocked").status_code == 200
    for _ in range(2):
        answer = ask(builder, command)
        assert answer["metadata"]["decision"] == "blocked"
        assert answer["reasoning"] == f"Blocked by {operator.agent_id}: I looked at it."


def test_a_caller_who_waits_hears_the_person(builder: Agent, operator: Agent, command: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, builder, command, wait_seconds=10)
        found: list[str] = []

        def asked() -> bool:
            items = operator.get("/pending", params={"limit": 1000}).json()["pending"]
            found.extend(item["id"] for item in items if item["tool_input"] == {"command": command})
            return bool(found)

        builder.bridge.wait_for(asked)
        started = time.monotonic()
        assert approve(operator, {"metadata": {"validation_id": found[0]}}).status_code == 200
        assert waiting.result()["approved"] is True
        assert time.monotonic() - started < 1
    assert ask(builder, command)["approved"] is False, "the one use was the waiting caller's"


def test_only_an_operator_decides_and_only_once(builder: Agent, operator: Agent, command: str) -> None:
    answer = ask(builder, command)
    assert approve(builder, answer).status_code == 403
    assert approve(operator, {"metadata": {"validation_id": "none"}}).status_code == 404
    assert approve(operator, answer).status_code == 200
    again = approve(operator, answer, "blocked")
    assert again.status_code == 409
    assert operator.agent_id in again.json()["detail"]
    assert approve(operator, answer, "maybe").status_code == 422


def test_an_expired_validation_cannot_be_approved(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_REVIEW_SECONDS="1")
    answer = ask(own.join("builder"), "./tools/late.sh")
    time.sleep(1.5)
    assert approve(own.join("operator"), answer).status_code == 409


def test_a_person_may_overrule_experts(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    with working(Expert(own, "one"), always("deny")):
        answer = ask(builder, "./tools/deploy.sh")
    assert answer["metadata"]["decision"] == "blocked"
    assert approve(own.join("operator"), answer).status_code == 200
    assert ask(builder, "./tools/deploy.sh")["approved"] is True


def test_nobody_overrules_a_rule_that_blocks(start_bridge: Callable[..., Bridge], tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for path in RULES.glob("*.yaml"):
        (rules / path.name).write_bytes(path.read_bytes())
    own = start_bridge(LIGHTHOUSE_RULES_DIR=str(rules))
    builder, operator = own.join("builder"), own.join("operator")
    version = own.http.get("/status").json()["rules_version"]
    standing, waiting = ask(builder, "frobnicate --one"), ask(builder, "frobnicate --two")
    assert approve(operator, standing, remember="always").status_code == 200
    assert ask(builder, "frobnicate --one")["approved"] is True
    (rules / "extra.yaml").write_text(
        "schema: 1\nrules:\n  - id: extra.frobnicate\n    programs: [frobnicate]\n    decision: block\n"
        "    reason: It destroys things; use another program.\n"
    )
    own.wait_for(lambda: own.http.get("/status").json()["rules_version"] != version)
    assert ask(builder, "frobnicate --one")["metadata"]["decision"] == "blocked"
    refused = approve(operator, waiting)
    assert refused.status_code == 409
    assert "extra.frobnicate" in refused.json()["detail"]
    root = ask(builder, "sudo rm -rf /")
    assert approve(operator, root).status_code == 404
