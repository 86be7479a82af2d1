"""Malformed and hostile requests get a 4xx with a reason, and nothing is written."""

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from lighthouse_bridge.routes import ROUTES
from tests.images.bridge.support import Agent, Bridge

MIB = 1024 * 1024
BODY_ROUTES = [route for route in ROUTES if route.has_body]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.fixture
def untouched(bridge: Bridge, operator: Agent) -> Iterator[Agent]:
    """An operator; afterwards no event may have been added."""
    before = bridge.sequence()
    yield operator
    assert bridge.sequence() == before
    assert bridge.http.get("/ready").status_code == 200


def refused(answer: Any, *statuses: int) -> str:
    assert answer.status_code in statuses, f"{answer.status_code} {answer.text}"
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail.endswith(".")
    return detail


def send(agent: Agent, path: str, content: bytes, **headers: str) -> Any:
    merged = {"Content-Type": "application/json", **agent.headers, **headers}
    return agent.bridge.http.post(path, content=content, headers=merged)


@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route.path)
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"nonsense", 400),
        (b'{"a": NaN}', 400),
        (b"\xff\xfe", 400),
        (b'{"a": "\xed\xa0\x80"}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"surely_unknown": 1}', 422),
    ],
    ids=["open", "words", "nan", "bytes", "surrogate", "lists", "objects", "list", "null", "text", "unknown"],
)
def test_a_malformed_body_is_refused(untouched: Agent, route: Any, content: bytes, status: int) -> None:
    refused(send(untouched, route.path, content), 400, status)


@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route.path)
def test_a_body_over_its_limit_is_refused(untouched: Agent, route: Any) -> None:
    too_long = b'{"a":"' + b"x" * (route.body_limit - 7) + b'"}'
    assert len(too_long) == route.body_limit + 1
    assert "bytes" in refused(send(untouched, route.path, too_long), 413)
    streamed = untouched.bridge.http.post(
        route.path,
        content=iter([too_long[:MIB], too_long[MIB:]]),
        headers={**untouched.headers, "Content-Type": "application/json"},
    )
    refused(streamed, 413)


@pytest.mark.parametrize("route", BODY_ROUTES, ids=lambda route: route.path)
def test_another_content_type_is_refused(untouched: Agent, route: Any) -> None:
    for content_type in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "multipart/form-data",
    ):
        refused(send(untouched, route.path, b"{}", **{"Content-Type": content_type}), 415)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_a_wrong_method_is_told_the_right_ones(untouched: Agent, path: str) -> None:
    known = {route.method for route in ROUTES if route.path == path}
    url = path.replace("{path:path}", "a").replace("{sha256}", "0" * 64).replace("{id}", "x")
    for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"} - known:
        answer = untouched.bridge.http.request(method, url, headers=untouched.headers)
        refused(answer, 405)
        assert set(answer.headers["allow"].split(", ")) == known


def test_an_unknown_path_is_not_found(untouched: Agent) -> None:
    for path in ("/nope", "/shadow", "/health/", "/validate/x", "/context/none", "//health"):
        refused(untouched.get(path), 404)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if not route.public], ids=lambda r: f"{r.method} {r.path}"
)
def test_no_route_serves_without_a_token(untouched: Agent, route: Any) -> None:
    url = route.path.replace("{path:path}", "a").replace("{sha256}", "0" * 64).replace("{id}", "x")
    for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}):
        answer = untouched.bridge.http.request(route.method, url, headers=header)
        refused(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


HOSTILE: list[tuple[str, Any]] = [
    ("NUL", {"command": "ls\0"}),
    ("deep", nested(20)),
    ("many keys", {str(i): 1 for i in range(1001)}),
    ("long list", {"a": [0] * 10_001}),
    ("huge number", {"a": 10**30}),
    ("NUL key", {"a\0": 1}),
]


@pytest.mark.parametrize(("what", "value"), HOSTILE, ids=[what for what, _ in HOSTILE])
def test_a_hostile_value_is_refused_everywhere(untouched: Agent, what: str, value: Any) -> None:
    agent = untouched.agent_id
    for path, body in (
        ("/validate", {"tool_name": "Bash", "tool_input": value, "agent_id": agent}),
        ("/validate", {"tool": "Bash", "input": value, "agent": agent}),
        ("/validate", {"tool_name": "Bash", "tool_input": {}, "agent_id": agent, "metadata": value}),
        ("/event/store", {"event_type": "custom", "data": value}),
        ("/event/store", {"event_type": "custom", "metadata": value}),
        ("/expert/register", {"agent_id": agent, "agent_type": "x", "capabilities": [], "metadata": value}),
    ):
        refused(untouched.post(path, body), 400)


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"a\\udfffb"', b'"\\ud800\\ud800"'])
def test_a_lone_surrogate_is_refused(untouched: Agent, text: bytes) -> None:
    agent = json.dumps(untouched.agent_id).encode()
    for path, body in (
        ("/validate", b'{"tool_name":"Bash","tool_input":{"command":%s},"agent_id":%s}'),
        ("/shadow/update", b'{"operation":"update","file_path":"x","content":%s,"agent_id":%s}'),
        ("/shadow/update", b'{"operation":"update","content":"x","file_path":%s,"agent_id":%s}'),
    ):
        refused(send(untouched, path, body % (text, agent)), 400)


@pytest.mark.parametrize(
    ("more", "statuses"),
    [
        ({"content": "%%%", "encoding": "base64"}, {400}),
        ({"content": "YQ", "encoding": "base64"}, {400}),
        ({"content": "x", "encoding": "latin-1"}, {422}),
        ({"content": "x", "content_hash": "0" * 64}, {400}),
        ({"content": "x", "content_hash": "0" * 63}, {422}),
        ({"content": 5}, {422}),
        ({}, {400}),
        ({"content": "x", "operation": "chmod"}, {422}),
        ({"content": "x", "kind": "device"}, {422}),
        ({"content": "x", "executable": "yes"}, {422}),
        ({"content": "x", "operation": "delete"}, {400}),
        ({"content": "x", "unknown": 1}, {422}),
        ({"content": "x", "file_path": 7}, {422}),
        ({"content": "x", "file_path": ""}, {422}),
        ({"content_hash": hashlib.sha256(b"nowhere").hexdigest()}, {400}),
    ],
)
def test_a_wrong_update_is_refused(untouched: Agent, more: dict[str, Any], statuses: set[int]) -> None:
    body = {"operation": "update", "file_path": "never", "agent_id": untouched.agent_id, **more}
    detail = refused(untouched.post("/shadow/update", body), *statuses)
    if 422 in statuses:
        assert any(name in detail for name in more), detail


def test_an_unknown_field_is_named(untouched: Agent) -> None:
    body = {"tool_name": "Bash", "tool_input": {}, "agent_id": untouched.agent_id, "surprise": 1}
    assert "surprise" in refused(untouched.post("/validate", body), 422)
    assert "agent_id" in refused(untouched.post("/validate", {"tool_name": "Bash", "tool_input": {}}), 422)


@pytest.mark.parametrize(
    "path",
    ["/shadow/tree?sequence=-1", "/shadow/tree?sequence=x", "/shadow/tree?nope=1", "/shadow/tree?sequence=1&sequence=2",
     "/shadow/tree?sequence=99999999", "/shadow/tree?prefix=../x", "/events/stream?after=x", "/events/stream?types=nope",
     "/events/stream?after=99999999", "/event/query?limit=0", "/event/query?limit=9999", "/event/query?event_type=nope",
     "/event/query?start_time=soon", "/context?limit=x", "/shadow/blobs/xyz", "/shadow/tree?%ff=1", "/shadow/tree?at=%ff"],
)  # fmt: skip
def test_a_wrong_query_is_refused(untouched: Agent, path: str) -> None:
    refused(untouched.get(path), 400, 409, 422)


@pytest.mark.parametrize("agent_id", ["", "a b", "a:b", "../x", "é", "x" * 200, "a\nb", "-x"])
def test_a_wrong_agent_id_opens_no_session(untouched: Agent, agent_id: str) -> None:
    refused(untouched.post("/session/create", {"agent_id": agent_id}), 422)


@pytest.mark.parametrize(
    "event_type", ["file_created", "validation_decision_made", "agent_session_started", "nope", ""]
)
def test_no_client_stores_an_event_that_only_the_bridge_may_make(untouched: Agent, event_type: str) -> None:
    refused(untouched.post("/event/store", {"event_type": event_type}), 400, 422)


@pytest.mark.parametrize(
    "raw",
    [b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
     b"GET /shadow/read/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"],
)  # fmt: skip
def test_broken_http_never_gets_a_5xx(untouched: Agent, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", untouched.bridge.port), 5) as connection:
        connection.sendall(raw)
        status: list[bytes] = []
        # The server may have answered and closed before all of this was sent.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            status = connection.recv(4096).split(b" ")[1:2]
    assert not status or status[0].startswith(b"4")


@pytest.mark.parametrize("hosts", [[], ["x", "y"], ["a b"], ["x/y"], [""], ["[::1"]], ids=str)
def test_a_request_without_one_plain_host_is_refused(untouched: Agent, hosts: list[str]) -> None:
    lines = ["GET /health HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", untouched.bridge.port), 5) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("host", ["x", "bridge.lighthouse.svc:8765", "[::1]:8765", "192.0.2.1"])
def test_a_plain_host_is_served(untouched: Agent, host: str) -> None:
    assert untouched.bridge.http.get("/health", headers={"Host": host}).status_code == 200


def test_no_request_of_this_module_was_answered_5xx_or_raised(bridge: Bridge) -> None:
    log = bridge.log.read_text()
    assert "Traceback" not in log
    assert '"status":500' not in log
