"""The log of a running bridge: which request a line belongs to and whose it is, and no secret, whatever is sent."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.images.bridge.support import KEYS, Bridge
from tests.ports import free_port

SECRET = "Planted7e5ecret"


def lines(bridge: Bridge) -> list[dict[str, Any]]:
    """What the bridge has logged."""
    return [json.loads(line) for line in bridge.log.read_text().splitlines()]


def logged(bridge: Bridge, request_id: str, event: str = "request") -> dict[str, Any]:
    """The one line of a request; waits, as it is written after the answer."""

    def found() -> list[dict[str, Any]]:
        return [
            line for line in lines(bridge) if line.get("request_id") == request_id and line["event"] == event
        ]

    bridge.wait_for(found)
    (line,) = found()
    return line


@pytest.mark.parametrize("given", ["r-1", "a" * 128, "4bf92f35:7.x_Y"])
def test_a_request_keeps_its_id(bridge: Bridge, given: str) -> None:
    answer = bridge.http.get("/status", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == given
    assert logged(bridge, given)["path"] == "/status"


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"b', "a\tb", "ä", "{}", None])
def test_a_request_without_a_fit_id_gets_one(bridge: Bridge, given: str | None) -> None:
    headers = [] if given is None else [(b"X-Request-Id", given.encode())]
    answer = bridge.http.get("/status", headers=headers)
    made = answer.headers["x-request-id"]
    assert made != given
    assert len(made) == 16
    assert int(made, 16) >= 0
    logged(bridge, made)


def test_a_refused_request_has_its_id_too(bridge: Bridge) -> None:
    for path, status in (("/nowhere", 404), ("/validate", 405), ("/agents", 401)):
        answer = bridge.http.get(path, headers={"X-Request-Id": f"refused-{status}"})
        if answer.status_code == 404 and status != 404:
            continue
        assert answer.status_code == status
        assert answer.headers["x-request-id"] == f"refused-{status}"
        assert logged(bridge, f"refused-{status}")["status"] == status


def test_every_line_of_a_request_names_it_and_its_agent(start_bridge: Callable[..., Bridge]) -> None:
    """Requests of many agents at once, each of which makes the bridge log more than that it was served."""
    bridge = start_bridge(LIGHTHOUSE_REGO_URL=f"http://127.0.0.1:{free_port()}/v1/data/x")
    agents = [bridge.join("builder", f"builder-{number}") for number in range(3)]

    def ask(number: int) -> None:
        agent = agents[number % 3]
        body = {"tool_name": "Bash", "tool_input": {"command": f"ls {number}"}, "agent_id": agent.agent_id}
        agent.post("/validate", body, headers={"X-Request-Id": f"many-{number}"})

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(30)))
    for number in range(30):
        assert logged(bridge, f"many-{number}")["agent_id"] == f"builder-{number % 3}"
    failed = [line for line in lines(bridge) if line["event"] == "tier failed"]
    assert failed
    for line in failed:
        number = int(line["request_id"].removeprefix("many-"))
        assert line["agent_id"] == f"builder-{number % 3}"
    # What belongs to no request names none.
    assert {line["event"] for line in lines(bridge) if "request_id" not in line} >= {"serving"}


def test_a_refused_socket_has_an_id(bridge: Bridge) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(
            f"{bridge.url.replace('http', 'ws')}/ws/somebody", additional_headers={"X-Request-Id": "socket-1"}
        )
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["x-request-id"] == "socket-1"


def test_no_secret_is_in_the_log(start_bridge: Callable[..., Bridge]) -> None:
    bridge = start_bridge(LIGHTHOUSE_REGO_URL=f"http://127.0.0.1:{free_port()}/v1/data/x?token={SECRET}1")
    agent = bridge.join("builder", "builder-1")
    key = f"-----BEGIN PRIVATE KEY-----\n{SECRET}2\n-----END PRIVATE KEY-----"
    for command in (
        f"curl -H 'Authorization: Bearer {SECRET}3' https://user:{SECRET}4@example.com",
        f"mysql --password={SECRET}5",
        f"echo '{key}' > key.pem",
        f"PGPASSWORD={SECRET}6 psql",
    ):
        agent.validate(command)
    for path in (
        f"/nowhere/password={SECRET}7",
        f"/nowhere/https:%2F%2Fuser:{SECRET}8@example.com",
        f"/status?token={SECRET}9",
    ):
        bridge.http.get(path, headers={"User-Agent": f"curl token={SECRET}10", "Cookie": f"s={SECRET}11"})
    bridge.http.get(
        "/status", headers={"Authorization": f"Bearer {SECRET}12", "X-Request-Id": "ghp_" + "a1" * 18}
    )
    bridge.http.post(
        "/session/create", json={"agent_id": "x"}, headers={"Authorization": f"Bearer {SECRET}13"}
    )
    with httpx.Client(base_url=bridge.url) as client:
        client.post("/validate", content=f'{{"tool_name": "{SECRET}14', headers=agent.headers)
    bridge.stop()
    text = bridge.log.read_text()
    assert SECRET not in text, [line for line in text.splitlines() if SECRET in line]
    for secret in (agent.token, *KEYS.values(), "s" * 48, "ghp_" + "a1" * 18):
        assert secret not in text
    events = [line["event"] for line in lines(bridge)]
    assert events.count("request") > 8
    assert "tier failed" in events
    said = [line for line in text.splitlines() if "[redacted]" in line]
    assert any("/nowhere/password=[redacted]" in line for line in said)
