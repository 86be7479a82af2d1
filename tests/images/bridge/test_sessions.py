"""Who may do what: join keys, tokens, roles, and how sessions end."""

import time
from collections.abc import Callable

import pytest

from lighthouse_bridge.credentials import open_token, sign_token
from tests.images.bridge.support import KEYS, Agent, Bridge


def test_each_join_key_opens_a_session_of_its_role(bridge: Bridge) -> None:
    for role, key in KEYS.items():
        answer = bridge.http.post(
            "/session/create", json={"agent_id": "someone"}, headers={"Authorization": f"Bearer {key}"}
        ).json()
        assert answer["role"] == role
        session_id, agent_id, created, signature = answer["session_token"].split(":")
        assert (len(session_id), agent_id, len(signature)) == (32, "someone", 64)
        assert abs(float(created) - time.time()) < 60
        assert answer["session_id"] == session_id


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", "Basic abc", f"Bearer {KEYS['expert']}x", "Bearer é"]
)
def test_a_wrong_join_key_opens_nothing(bridge: Bridge, header: str) -> None:
    before = bridge.sequence()
    answer = bridge.http.post(
        "/session/create",
        json={"agent_id": "a"},
        headers={b"Authorization": header.encode()} if header else {},
    )
    assert answer.status_code == 401
    assert "join key" in answer.json()["detail"]
    assert bridge.sequence() == before


def test_a_token_that_was_tampered_with_is_refused(expert: Agent) -> None:
    session_id, agent_id, created, signature = expert.token.split(":")
    other = "0" * 32
    for token in (
        f"{other}:{agent_id}:{created}:{signature}",
        f"{session_id}:root:{created}:{signature}",
        f"{session_id}:{agent_id}:{float(created) + 1}:{signature}",
        f"{session_id}:{agent_id}:{created}:{'0' * 64}",
        sign_token(b"x" * 48, session_id, agent_id, float(created)),
        sign_token(b"s" * 48, other, agent_id, float(created)),
        "x",
        ":::",
        "a:b:c:d:e",
    ):
        assert (
            expert.bridge.http.get("/experts", headers={"Authorization": f"Bearer {token}"}).status_code
            == 401
        )
    assert expert.get("/experts").status_code == 200
    assert open_token([b"s" * 48], expert.token) == (session_id, agent_id)


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("POST", "/validate", "builder"),
        ("POST", "/shadow/update", "builder"),
        ("POST", "/shadow/updates", "builder"),
        ("PUT", "/shadow/blobs/" + "0" * 64, "builder"),
        ("POST", "/event/store", "builder"),
        ("GET", "/pending", "operator"),
    ],
)
def test_a_lower_role_is_refused(bridge: Bridge, method: str, path: str, needs: str) -> None:
    lower = {"builder": ["expert"], "operator": ["expert", "builder"]}[needs]
    for role in lower:
        answer = bridge.http.request(method, path, headers=bridge.join(role).headers)
        assert answer.status_code == 403
        assert needs in answer.json()["detail"]


def test_an_agent_acts_only_in_its_own_name(builder: Agent, expert: Agent) -> None:
    assert builder.update("own.txt", "x", agent_id="other").status_code == 403
    body = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "agent_id": "other"}
    assert builder.post("/validate", body).status_code == 403
    assert expert.post("/expert/heartbeat", {"agent_id": "other"}).status_code == 403
    other = expert.bridge.join("builder")
    mine = {**body, "agent_id": builder.agent_id, "session_token": other.token}
    assert builder.post("/validate", mine).status_code == 403


def test_an_ended_session_is_over(bridge: Bridge) -> None:
    agent, watcher = bridge.join("expert"), bridge.join("expert")
    check = {"session_token": agent.token, "agent_id": agent.agent_id}
    assert watcher.post("/session/validate", check).json() == {"valid": True}
    assert watcher.post("/session/validate", {**check, "agent_id": "other"}).json() == {"valid": False}
    assert agent.post("/session/end").status_code == 200
    assert agent.get("/experts").status_code == 401
    assert watcher.post("/session/validate", check).json() == {"valid": False}


def test_the_fourth_session_of_an_agent_and_role_ends_the_first(bridge: Bridge) -> None:
    agents = [bridge.join("expert", "crowded") for _ in range(4)]
    other_role = bridge.join("builder", "crowded")
    assert [agent.get("/experts").status_code for agent in agents] == [401, 200, 200, 200]
    assert other_role.get("/experts").status_code == 200


def test_experts_register_and_stay_available(bridge: Bridge) -> None:
    agent = bridge.join("expert", "security-1")
    assert agent.post("/expert/heartbeat", {"agent_id": "security-1"}).status_code == 404
    body = {"agent_id": "security-1", "agent_type": "security", "capabilities": ["code_review"]}
    answer = agent.post("/expert/register", body).json()
    assert (answer["success"], answer["agent_id"]) == (True, "security-1")
    assert agent.post("/expert/heartbeat", {"agent_id": "security-1"}).json()["status"] == "available"
    listed = {e["agent_id"]: e for e in agent.get("/experts").json()["experts"]}
    assert listed["security-1"]["capabilities"] == ["code_review"]
    assert agent.post("/session/end", {}).status_code == 200
    assert "security-1" not in {
        e["agent_id"] for e in bridge.join("expert").get("/experts").json()["experts"]
    }


@pytest.mark.proves(19, level="running")
def test_neither_keys_nor_tokens_are_logged(bridge: Bridge, builder: Agent) -> None:
    builder.validate("ls")
    bridge.wait_for(lambda: builder.agent_id in bridge.log.read_text())
    log = bridge.log.read_text()
    assert builder.token.split(":")[-1] not in log
    assert not [key for key in KEYS.values() if key in log]


def test_a_session_is_of_the_user_agent_that_opened_it(expert: Agent) -> None:
    moved = expert.get("/experts", headers={"User-Agent": "thief/1.0"})
    assert (moved.status_code, "another user agent" in moved.json()["detail"]) == (401, True)
    assert expert.get("/experts").status_code == 200


def test_a_session_is_of_the_address_that_opened_it(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8")
    key = {"Authorization": f"Bearer {KEYS['expert']}"}

    def joined(via: str) -> dict[str, str]:
        headers = {**key, "X-Forwarded-For": via} if via else key
        answer = own.http.post("/session/create", json={"agent_id": "mover"}, headers=headers)
        return {"Authorization": f"Bearer {answer.json()['session_token']}"}

    def code(headers: dict[str, str], via: str) -> int:
        sent = {**headers, "X-Forwarded-For": via} if via else headers
        return own.http.get("/experts", headers=sent).status_code

    near = joined("192.0.2.1, 10.1.1.1")
    assert code(near, "192.0.2.1") == 200
    # What the client itself wrote before the proxies did is not believed.
    assert code(near, "192.0.2.1, 192.0.2.9") == 401
    assert code(near, "192.0.2.2") == 401
    assert code(near, "") == 401
    direct = joined("")
    assert [code(direct, ""), code(direct, "192.0.2.1")] == [200, 401]


def test_behind_a_proxy_that_is_not_trusted_the_address_is_unknown(bridge: Bridge) -> None:
    headers = {"Authorization": f"Bearer {KEYS['expert']}", "X-Forwarded-For": "192.0.2.1"}
    answer = bridge.http.post("/session/create", json={"agent_id": "behind"}, headers=headers)
    token = {"Authorization": f"Bearer {answer.json()['session_token']}"}
    for via in ({}, {"X-Forwarded-For": "192.0.2.2"}):
        assert bridge.http.get("/experts", headers={**token, **via}).status_code == 200


@pytest.mark.heavy  # waits for the clock
def test_every_call_of_an_expert_is_a_sign_of_its_life(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    agent = own.join("expert", "lively")
    body = {"agent_id": "lively", "agent_type": "security", "capabilities": ["code_review"]}
    assert agent.post("/expert/register", body).status_code == 200
    (before,) = agent.get("/experts").json()["experts"]
    time.sleep(1.2)
    assert agent.get("/shadow/tree").status_code == 200
    own.stop()
    own.start()
    (after,) = agent.get("/experts").json()["experts"]
    assert after["last_seen_at"] > before["last_seen_at"]


def test_health_has_a_route_for_each_probe(bridge: Bridge) -> None:
    for probe, status in (("live", "healthy"), ("ready", "ready"), ("startup", "healthy")):
        assert bridge.http.get(f"/health/{probe}").json()["status"] == status
