"""Questions between agents: signed, in time, answered once and by the addressee alone, as the schema demands."""

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.images.bridge.support import Agent, Bridge

SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["safe", "unsafe"]},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "lines": {"type": "integer"},
        "sure": {"type": "boolean"},
        "note": {"type": "string", "maxLength": 5},
    },
    "required": ["verdict"],
}


def question(asker: Agent, addressee: Agent, **more: Any) -> dict[str, Any]:
    """The body of a question."""
    return {
        "from_agent": asker.agent_id,
        "to_agent": addressee.agent_id,
        "message": "Is it safe?",
        "schema": SCHEMA,
        **more,
    }


def ask(asker: Agent, addressee: Agent, **more: Any) -> str:
    """The id of a question that was taken."""
    answer = asker.send("/elicitation/create", question(asker, addressee, **more))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["elicitation_id"])


def respond(
    agent: Agent, elicitation_id: str, kind: str = "accept", data: Any = None, **more: Any
) -> httpx.Response:
    """Answer a question."""
    body = {
        "elicitation_id": elicitation_id,
        "responding_agent": agent.agent_id,
        "response_type": kind,
        "data": data if data is not None or kind != "accept" else {"verdict": "safe"},
    }
    return agent.send("/elicitation/respond", body, **more)


def state(agent: Agent, elicitation_id: str) -> dict[str, Any]:
    """How a question stands."""
    found: dict[str, Any] = agent.get(f"/elicitation/status/{elicitation_id}").json()
    return found


@pytest.fixture
def asker(bridge: Bridge) -> Agent:
    return bridge.join("builder")


@pytest.fixture
def addressee(bridge: Bridge) -> Agent:
    return bridge.join("expert")


def test_a_question_is_asked_delivered_and_answered(asker: Agent, addressee: Agent) -> None:
    asked = ask(asker, addressee)
    assert state(asker, asked)["status"] == "pending"
    assert state(asker, asked)["delivered"] is False
    pending = addressee.get("/elicitation/pending", params={"agent_id": addressee.agent_id}).json()
    assert [
        (one["elicitation_id"], one["from_agent"], one["schema"]["required"])
        for one in pending["elicitations"]
    ] == [(asked, asker.agent_id, ["verdict"])]
    data = {"verdict": "unsafe", "confidence": 0.9, "lines": 3, "sure": True, "note": "abc"}
    assert respond(addressee, asked, data=data).json()["status"] == "accepted"
    stands = state(asker, asked)
    assert (stands["status"], stands["data"], stands["delivered"]) == ("accepted", data, True)
    assert addressee.get("/elicitation/pending", params={"agent_id": addressee.agent_id}).json()["count"] == 0


def test_an_addressee_that_waits_is_woken_by_a_question(asker: Agent, addressee: Agent) -> None:
    timer = threading.Timer(0.3, ask, (asker, addressee))
    timer.start()
    begin = time.monotonic()
    query = {"agent_id": addressee.agent_id, "wait": "10"}
    assert addressee.get("/elicitation/pending", params=query).json()["count"] == 1
    assert time.monotonic() - begin < 5
    timer.join()


@pytest.mark.parametrize(("kind", "status"), [("decline", "declined"), ("cancel", "cancelled")])
def test_a_question_may_be_refused_without_data(
    asker: Agent, addressee: Agent, kind: str, status: str
) -> None:
    asked = ask(asker, addressee)
    assert respond(addressee, asked, kind, {"verdict": "safe"}).status_code == 400
    assert respond(addressee, asked, kind).json()["status"] == status
    assert respond(addressee, asked).status_code == 409


def test_only_the_addressee_may_answer_and_only_the_two_see_it(
    bridge: Bridge, asker: Agent, addressee: Agent, operator: Agent
) -> None:
    asked, stranger = ask(asker, addressee), bridge.join("expert")
    assert respond(stranger, asked).status_code == 403
    assert respond(asker, asked).status_code == 403
    assert stranger.get(f"/elicitation/status/{asked}").status_code == 404
    assert operator.get(f"/elicitation/status/{asked}").status_code == 200
    query = {"agent_id": addressee.agent_id}
    assert stranger.get("/elicitation/pending", params=query).status_code == 403
    assert state(addressee, asked)["status"] == "pending"
    in_anothers_name = {**question(asker, addressee), "from_agent": addressee.agent_id}
    assert asker.send("/elicitation/create", in_anothers_name).status_code == 403


def test_a_question_that_nobody_answers_expires(asker: Agent, addressee: Agent) -> None:
    asked = ask(asker, addressee, timeout_seconds=1)
    time.sleep(1.1)
    assert state(asker, asked)["status"] == "expired"
    assert respond(addressee, asked).status_code == 409
    assert addressee.get("/elicitation/pending", params={"agent_id": addressee.agent_id}).json()["count"] == 0


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"verdict": "maybe"},
        {"verdict": 1},
        {"verdict": "safe", "confidence": 2},
        {"verdict": "safe", "confidence": True},
        {"verdict": "safe", "lines": 1.5},
        {"verdict": "safe", "sure": 1},
        {"verdict": "safe", "note": "too long"},
        {"verdict": "safe", "other": "x"},
    ],
)
def test_an_answer_that_is_not_as_the_schema_demands_is_refused(bridge: Bridge, data: dict[str, Any]) -> None:
    asker, addressee = bridge.join("builder"), bridge.join("expert")
    asked = ask(asker, addressee)
    assert respond(addressee, asked, data=data).status_code == 400
    assert respond(addressee, asked).status_code == 200


@pytest.mark.parametrize(
    ("schema", "status"),
    [
        ({"type": "object", "properties": {}}, 422),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}, 422),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/x"}}}, 422),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]}, 400),
        ({"type": "object", "properties": {"a": {"type": "boolean", "minimum": 1}}}, 400),
        ({"type": "object", "properties": {"a": {"type": "number", "minimum": 2, "maximum": 1}}}, 400),
    ],
)
def test_a_schema_that_nobody_can_satisfy_or_that_computes_is_refused(
    asker: Agent, addressee: Agent, schema: dict[str, Any], status: int
) -> None:
    answer = asker.send("/elicitation/create", question(asker, addressee, schema=schema))
    assert answer.status_code == status, answer.text


def test_a_message_is_signed_by_its_session_and_for_its_content(
    bridge: Bridge, asker: Agent, addressee: Agent
) -> None:
    body = question(asker, addressee)
    unsigned = asker.post("/elicitation/create", body)
    assert (unsigned.status_code, "X-Lighthouse-Signature" in unsigned.json()["detail"]) == (401, True)
    for wrong in (
        {"token": bridge.join("builder").token},
        {"agent": addressee.agent_id},
        {"signed_path": "/elicitation/respond"},
        {"content": b"{}"},
    ):
        assert asker.send("/elicitation/create", body, **wrong).status_code == 401, wrong
    assert asker.send("/elicitation/create", body).status_code == 200


def test_clocks_may_differ_by_five_minutes_and_no_more(asker: Agent, addressee: Agent) -> None:
    body = question(asker, addressee)
    assert asker.send("/elicitation/create", body, unix=time.time() - 290).status_code == 200
    assert asker.send("/elicitation/create", body, unix=time.time() + 290).status_code == 200
    for unix in (time.time() - 310, time.time() + 310):
        answer = asker.send("/elicitation/create", body, unix=unix)
        assert (answer.status_code, "clock" in answer.json()["detail"]) == (401, True)


def test_a_message_that_is_sent_again_is_refused(asker: Agent, addressee: Agent) -> None:
    body, nonce, unix = question(asker, addressee), secrets.token_hex(16), time.time()
    assert asker.send("/elicitation/create", body, nonce=nonce, unix=unix).status_code == 200
    again = asker.send("/elicitation/create", body, nonce=nonce, unix=unix)
    assert (again.status_code, "sent before" in again.json()["detail"]) == (401, True)


def test_a_message_that_is_sent_again_after_a_restart_is_refused(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    asker, addressee = own.join("builder"), own.join("expert")
    body, nonce, unix = question(asker, addressee), secrets.token_hex(16), time.time()
    assert asker.send("/elicitation/create", body, nonce=nonce, unix=unix).status_code == 200
    own.kill()
    own.start()
    again = Agent(own, asker.agent_id, asker.token).send("/elicitation/create", body, nonce=nonce, unix=unix)
    assert (again.status_code, "sent before" in again.json()["detail"]) == (401, True)


def test_questions_and_answers_are_limited_for_each_agent(bridge: Bridge, addressee: Agent) -> None:
    noisy, quiet = bridge.join("builder"), bridge.join("builder")
    answers = [noisy.send("/elicitation/create", question(noisy, addressee)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 13
    asked = ask(quiet, addressee)
    codes = [respond(addressee, "0" * 32).status_code for _ in range(4)]
    assert codes == [404, 404, 404, 429]
    assert state(quiet, asked)["status"] == "pending"


def test_metrics_count_what_became_of_questions_and_what_was_refused(asker: Agent, addressee: Agent) -> None:
    before = asker.get("/elicitation/metrics").json()
    respond(addressee, ask(asker, addressee))
    respond(asker, ask(asker, addressee))
    after = asker.get("/elicitation/metrics").json()
    assert (after["created"] - before["created"], after["accepted"] - before["accepted"]) == (2, 1)
    assert after["refused"]["wrong_addressee"] - before["refused"]["wrong_addressee"] == 1
    assert after["average_response_seconds"] >= 0
