"""What no rule decides: experts answer it, or nobody does and it is denied; nobody waits for ever."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import pytest

from lighthouse_bridge.credentials import own_key
from tests.images.bridge.experts import Expert, always, ask, events, working
from tests.images.bridge.support import KEYS, Bridge

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits

# Medium and high risk by the shipped rules.
UNKNOWN = "./tools/deploy.sh"
PUBLISH = "npm publish"


def pending(own: Bridge) -> dict[str, dict[str, Any]]:
    found = own.join("operator").get("/pending", params={"limit": 1000}).json()["pending"]
    return {item["id"]: item for item in found}


def test_two_experts_who_agree_decide_while_the_caller_waits(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    one, two = Expert(own, "one", "security"), Expert(own, "two", "architecture", "code_review")
    with working(one, always("approve", 0.9)), working(two, always("approve", 0.8)):
        answer = ask(builder, UNKNOWN)
    assert (answer["approved"], answer["metadata"]["decision"]) == (True, "approved")
    assert answer["confidence"] == pytest.approx(0.85)
    assert answer["reasoning"].startswith("Approved by one, two: ")
    assert events(builder, answer["metadata"]["validation_id"]) == [
        ("validation_request_submitted", None),
        ("validation_decision_made", "escalate"),
        ("validation_escalated_to_expert", None),
        ("expert_agent_summoned", None),
        ("expert_agent_summoned", None),
        ("expert_agent_responded", "approve"),
        ("expert_agent_responded", "approve"),
        ("validation_decision_made", "approved"),
    ]
    again = ask(own.join("builder"), UNKNOWN)
    assert (again["approved"], again["metadata"]["cache_hit"]) == (True, True)
    assert pending(own) == {}


def test_work_tells_what_is_judged_and_where_its_context_is(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    builder, expert = own.join("builder"), Expert(own, "one")
    answer = ask(builder, UNKNOWN)
    work = expert.work()
    assert (work["kind"], work["validation_id"]) == ("validation", answer["metadata"]["validation_id"])
    assert (work["tool_name"], work["tool_input"]) == ("Bash", {"command": UNKNOWN})
    assert work["requested_by"] == builder.agent_id
    assert expert.agent.get(f"/context/{work['validation_id']}").status_code == 200
    assert expert.take(0) is None


@pytest.mark.parametrize(
    ("command", "opinions", "decision"),
    [
        (UNKNOWN, [("security", "approve", 0.9)], "approved"),
        (UNKNOWN, [("security", "approve", 0.7)], "escalate"),
        (UNKNOWN, [("security", "deny", 0.2)], "blocked"),
        (UNKNOWN, [("security", "abstain", 1.0)], "escalate"),
        (UNKNOWN, [("a", "approve", 0.4), ("b", "approve", 0.4)], "escalate"),
        (UNKNOWN, [("a", "approve", 1.0), ("b", "approve", 1.0), ("c", "deny", 0.1)], "escalate"),
        (UNKNOWN, [("a", "approve", 0.3), ("b", "deny", 0.9), ("c", "deny", 0.9)], "blocked"),
        (UNKNOWN, [("a", "approve", 0.9), ("b", "approve", 0.9), ("c", "abstain", 0.0)], "approved"),
        (PUBLISH, [("a", "approve", 1.0)], "escalate"),
        (PUBLISH, [("a", "approve", 1.0), ("a", "approve", 1.0)], "escalate"),
        (PUBLISH, [("a", "approve", 0.9), ("b", "approve", 0.9)], "approved"),
        (PUBLISH, [("a", "approve", 1.0), ("b", "approve", 1.0), ("c", "abstain", 0.0)], "escalate"),
        (PUBLISH, [("a", "deny", 0.9), ("b", "deny", 0.9)], "blocked"),
    ],
)
def test_answers_become_a_decision(
    start_bridge: Callable[..., Bridge], command: str, opinions: list[tuple[str, str, float]], decision: str
) -> None:
    own = start_bridge()
    builder = own.join("builder")
    experts = [Expert(own, f"e{n}", kind) for n, (kind, _, _) in enumerate(opinions)]
    with ExitStack() as stack:
        for expert, (_, word, confidence) in zip(experts, opinions, strict=True):
            stack.enter_context(working(expert, always(word, confidence)))
        answer = ask(builder, command)
    assert answer["metadata"]["decision"] == decision, answer["reasoning"]
    assert answer["approved"] is (decision == "approved")
    waiting = pending(own)
    assert len(waiting) == (decision == "escalate")
    for item in waiting.values():
        assert item["stage"] == "human"
        assert item["responses"]


def test_two_liars_of_five_get_nothing_dangerous_through(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    kinds = ("security", "architecture", "performance", "security", "architecture")
    experts = [Expert(own, f"e{n}", kind) for n, kind in enumerate(kinds)]
    before = own.sequence()
    with ExitStack() as stack:
        for n, expert in enumerate(experts):
            word = always("approve", 1.0) if n in {1, 3} else always("deny", 0.5)
            stack.enter_context(working(expert, word))
        root = ask(builder, "sudo rm -rf /")
        assert root["metadata"]["decision"] == "blocked"
        assert own.sequence() == before + 2, "experts are not even asked about what a rule blocks"
        for n in range(20):
            for command in (f"npm publish --tag v{n}", f"./tools/wipe-{n}.sh"):
                answer = ask(builder, command)
                assert answer["approved"] is False, (command, answer)


def test_without_experts_the_answer_comes_at_once_and_silence_denies(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_REVIEW_SECONDS="1")
    builder = own.join("builder")
    started = time.monotonic()
    answer = ask(builder, UNKNOWN)
    assert time.monotonic() - started < 1
    assert answer["metadata"]["decision"] == "escalate"
    assert "No expert is available" in answer["reasoning"]
    validation_id = answer["metadata"]["validation_id"]
    assert pending(own)[validation_id]["expires_at"]
    denied = ask(builder, UNKNOWN, wait_seconds=10)
    assert (denied["metadata"]["decision"], denied["metadata"]["validation_id"]) == ("blocked", validation_id)
    assert denied["reasoning"].startswith("Nobody approved it within 1 s, so it is denied.")
    assert time.monotonic() - started < 3
    assert pending(own) == {}
    assert events(builder, validation_id)[-1] == ("validation_decision_made", "blocked")


def test_an_expert_that_is_slow_answers_the_next_call(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0.5")
    builder, slow = own.join("builder"), Expert(own, "slow")
    started = time.monotonic()
    answer = ask(builder, UNKNOWN)
    assert 0.4 < time.monotonic() - started < 2
    assert (answer["approved"], answer["metadata"]["decision"]) == (False, "escalate")
    assert "ask again" in answer["reasoning"]
    assert (
        ask(builder, UNKNOWN, wait_seconds=0)["metadata"]["validation_id"]
        == answer["metadata"]["validation_id"]
    )
    assert slow.answer(slow.work(), "approve").json()["status"] == "recorded"
    assert slow.take(0) is None, "the same call asked twice is one piece of work"
    assert ask(builder, UNKNOWN)["approved"] is True


def test_an_expert_that_dies_at_work_leaves_the_call_to_people_in_time(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_EXPERT_SECONDS="1", LIGHTHOUSE_VALIDATION_WAIT_SECONDS="5")
    builder = own.join("builder")
    one, two = Expert(own, "one", "a"), Expert(own, "two", "b")
    dead = Expert(own, "dead", "c")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, builder, UNKNOWN)
        for expert in (one, two):
            expert.answer(expert.work(), "approve")
        lost = dead.work()
        started = time.monotonic()
        answer = asked.result()
        assert time.monotonic() - started < 2
    assert answer["metadata"]["decision"] == "escalate"
    assert "stayed silent" in answer["reasoning"]
    assert dead.answer(lost, "deny").json()["status"] == "late"


def test_what_an_expert_took_before_it_died_it_gets_again(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    builder, before = own.join("builder"), Expert(own, "one")
    ask(builder, UNKNOWN)
    work = before.work()
    assert before.take(0) is None
    after = Expert(own, "one")
    assert after.work()["work_id"] == work["work_id"]


def test_work_outlives_the_bridge(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0", LIGHTHOUSE_EXPERT_SECONDS="2")
    builder, expert = own.join("builder"), Expert(own, "one")
    first = ask(builder, UNKNOWN)["metadata"]["validation_id"]
    own.kill()
    time.sleep(2)
    own.start()
    assert list(pending(own)) == [first]
    assert expert.answer(expert.work(), "approve").json()["status"] == "recorded"
    assert ask(builder, UNKNOWN)["approved"] is True


def test_101_at_once_are_all_answered(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="1")
    builder = own.join("builder")
    silent = Expert(own, "silent")
    commands = [f"./tools/step-{n}.sh" for n in range(101)]
    started = time.monotonic()
    with ThreadPoolExecutor(101) as pool:
        answers = list(pool.map(lambda command: ask(builder, command), commands))
    assert time.monotonic() - started < 10
    assert {answer["metadata"]["decision"] for answer in answers} == {"escalate"}
    stages = [item["stage"] for item in pending(own).values()]
    assert (stages.count("experts"), stages.count("human")) == (100, 1)
    (told,) = (
        a["reasoning"] for a in answers if "100 validations wait for experts already" in a["reasoning"]
    )
    with working(silent, always("approve")):
        own.wait_for(lambda: len(pending(own)) == 1)
    again = [ask(builder, command)["approved"] for command in commands]
    assert again.count(True) == 100, told


def test_experts_who_never_answer_are_left_out_for_a_while(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_EXPERT_SECONDS="0.2")
    builder = own.join("builder")
    Expert(own, "mute")
    for n in range(5):
        answer = ask(builder, f"./tools/{n}.sh")
        assert "no expert answered" in answer["reasoning"]
    started = time.monotonic()
    answer = ask(builder, "./tools/last.sh")
    assert time.monotonic() - started < 0.15
    assert "not asked for a while" in answer["reasoning"]
    text = own.http.get(f"http://127.0.0.1:{own.metrics_port}/metrics").text
    assert 'lighthouse_bridge_tier_circuit_open{tier="expert"} 1.0' in text


def test_nobody_judges_itself_and_only_the_able_are_asked(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    writer = Expert(own, "writer", "writer", "documentation")
    same = Expert(own, "two-faced")
    answer = ask(own.join("builder", "two-faced"), UNKNOWN)
    assert "No expert is available" in answer["reasoning"]
    assert (writer.take(0), same.take(0)) == (None, None)


def test_a_builder_cannot_act_as_an_expert(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    expert, builder = Expert(own, "one"), own.join("builder", "one")
    ask(own.join("builder"), UNKNOWN)
    body = {"agent_id": "one", "agent_type": "x", "capabilities": ["security_audit"]}
    assert builder.post("/expert/register", body).status_code == 403
    assert builder.get("/expert/work").status_code == 403
    answer = {"work_id": expert.work()["work_id"], "decision": "approve", "confidence": 1}
    assert builder.post("/expert/answer", answer).status_code == 403


def test_an_answer_is_its_experts_own_and_final(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    builder = own.join("builder")
    one, two = Expert(own, "one", "a"), Expert(own, "two", "b")
    ask(builder, UNKNOWN)
    work = one.work()
    assert two.answer(work, "deny").status_code == 404
    assert one.answer(work, "approve").json()["status"] == "recorded"
    assert one.answer(work, "approve").json()["status"] == "recorded"
    assert one.answer(work, "deny").status_code == 409
    assert (
        one.agent.post("/expert/complete", {"work_id": work["work_id"], "status": "completed"}).status_code
        == 409
    )
    assert own.join("expert", "stranger").get("/expert/work").status_code == 404


def test_an_expert_that_leaves_is_forgotten(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    expert = Expert(own, "one")
    assert expert.agent.post("/session/end", {}).status_code == 200
    assert "No expert is available" in ask(own.join("builder"), UNKNOWN)["reasoning"]


def test_a_waiting_expert_does_not_delay_the_end(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    expert = Expert(own, "one")
    with ThreadPoolExecutor(1) as pool:
        polled = pool.submit(expert.take, 20)
        time.sleep(0.3)
        started = time.monotonic()
        assert own.process is not None
        own.process.terminate()
        assert own.process.wait(10) == 0
        assert time.monotonic() - started < 3
        assert polled.result() is None


def test_experts_who_share_a_key_count_once(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="5")
    builder = own.join("builder")
    forged = [Expert(own, f"forged-{n}", kind, shared_key=True) for n, kind in enumerate(("a", "b", "c"))]
    with ExitStack() as stack:
        for expert in forged:
            stack.enter_context(working(expert, always("approve", 1.0)))
        high = ask(builder, "npm publish")
        assert high["approved"] is False
        assert "two experts" in high["reasoning"]
    honest = Expert(own, "honest", "d")
    with ExitStack() as stack:
        for expert in forged:
            stack.enter_context(working(expert, always("approve", 1.0)))
        stack.enter_context(working(honest, always("deny", 0.5)))
        assert ask(builder, "./tools/forged.sh")["approved"] is False


def test_an_experts_own_key_is_of_that_name_and_role_alone(bridge: Bridge) -> None:
    mine = own_key(KEYS["expert"], "security")
    for key, code in {
        mine: 200,
        mine.replace("security", "architecture"): 401,
        mine[:-1] + ("0" if mine[-1] != "0" else "1"): 401,
        own_key(KEYS["builder"], "security"): 401,
        own_key("x" * 48, "security"): 401,
    }.items():
        headers = {"Authorization": f"Bearer {key}"}
        answer = bridge.http.post("/session/create", json={"agent_id": "a"}, headers=headers)
        assert answer.status_code == code, key
        if code == 200:
            assert answer.json()["role"] == "expert"


def test_context_packages_are_forgotten_after_a_week_and_beyond_ten_thousand(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_VALIDATION_WAIT_SECONDS="0")
    builder = own.join("builder")
    made = [ask(builder, f"./tools/{n}.sh")["metadata"]["validation_id"] for n in range(3)]

    def kept() -> list[str]:
        with closing(sqlite3.connect(own.store)) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM context_packages ORDER BY sequence")]

    assert kept() == made
    own.stop()
    with closing(sqlite3.connect(own.store)) as connection, connection:
        old = "UPDATE context_packages SET created_us = created_us - 604800000000 WHERE id = ?"
        connection.execute(old, (made[0],))
    own.start()
    own.wait_for(lambda: kept() == made[1:])
    own.stop()
    with closing(sqlite3.connect(own.store)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
            "INSERT INTO context_packages SELECT 'later-' || i, 1000000 + i, created_us, '{}' "
            "FROM n, context_packages WHERE id = ?",
            (made[2],),
        )
    own.start()
    own.wait_for(lambda: len(kept()) == 10_000)
    assert made[1] not in kept()
