"""/openapi.json is true: it lists what is served, and real answers have the documented codes and shapes."""

import json
import re
from typing import Any

import httpx
import jsonschema
import pytest

from lighthouse_bridge.routes import ROUTES
from tests.images.bridge.support import Agent, Bridge


@pytest.fixture(scope="module")
def document(bridge: Bridge) -> dict[str, Any]:
    loaded: dict[str, Any] = bridge.http.get("/openapi.json").json()
    return loaded


def resolve(document: dict[str, Any], path: str) -> dict[str, Any]:
    """The path item that a concrete path belongs to."""
    path = path.partition("?")[0]
    if path in document["paths"]:
        return dict(document["paths"][path])
    for template, item in document["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", ".+", template), path):
            return dict(item)
    raise AssertionError(f"{path} is not documented")


def check(document: dict[str, Any], answer: httpx.Response, schema_of: str | None = None) -> None:
    """The answer's status, media type and body are documented."""
    operation = resolve(document, schema_of or answer.request.url.path)[answer.request.method.lower()]
    responses = operation["responses"]
    assert str(answer.status_code) in responses, (answer.request.url, answer.status_code, answer.text)
    content = responses[str(answer.status_code)].get("content", {})
    if answer.status_code == 304:
        assert not answer.content
        return
    media_type = answer.headers["content-type"]
    assert media_type in content
    schema = content[media_type].get("schema")
    if schema and media_type == "application/json":
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})


def test_exactly_the_served_routes_are_listed(document: dict[str, Any]) -> None:
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert listed == {(route.method, route.path.replace(":path}", "}")) for route in ROUTES}
    ids = [operation["operationId"] for item in document["paths"].values() for operation in item.values()]
    assert len(set(ids)) == len(ids)
    text = json.dumps(document)
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in document["components"]["schemas"]


def test_schemas_are_valid(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.heavy
def test_real_answers_are_as_documented(document: dict[str, Any], bridge: Bridge) -> None:
    operator, builder, expert = bridge.join("operator"), bridge.join("builder"), bridge.join("expert")
    me = builder.agent_id
    sha = "0" * 64
    command = {"tool_name": "Bash", "agent_id": me}
    created = bridge.http.post(
        "/session/create", json={"agent_id": "x"}, headers={"Authorization": "Bearer y"}
    )
    answers = [
        *(bridge.http.get(path) for path in ("/health", "/ready", "/status", "/openapi.json")),
        created,
        bridge.http.post("/session/create", json={"agent_id": 5}),
        bridge.http.get("/experts"),
        expert.post("/session/validate", {"session_token": "x", "agent_id": "x"}),
        builder.post("/validate", {**command, "tool_input": {"command": "ls"}}),
        builder.post("/validate", {**command, "tool_input": {"command": "./unknown"}}),
        builder.post("/validate", {**command, "tool_input": {"command": "rm -rf /"}}),
        builder.post("/validate", {"tool": "Bash", "input": {"command": "ls"}, "agent": me}),
        builder.post("/validate", {"tool": "Bash", "input": {"command": "nope"}, "agent": me, "id": "1"}),
        builder.post("/validate", {"tool": "Bash"}),
        expert.post("/validate", {}),
        operator.get("/pending"),
        expert.get("/pending"),
        expert.post("/expert/heartbeat", {"agent_id": expert.agent_id}),
        expert.post(
            "/expert/register", {"agent_id": expert.agent_id, "agent_type": "t", "capabilities": ["a"]}
        ),
        expert.post("/expert/heartbeat", {"agent_id": expert.agent_id}),
        expert.get("/experts"),
        expert.get("/expert/work"),
        expert.get("/expert/work?wait=31"),
        builder.get("/expert/work"),
        bridge.join("expert").get("/expert/work"),
        expert.post("/expert/answer", {"work_id": "x", "decision": "deny", "confidence": 1}),
        expert.post("/expert/answer", {"work_id": "x", "decision": "deny", "confidence": 2}),
        expert.post("/expert/complete", {"work_id": "x", "status": "failed"}),
        builder.post("/expert/delegate", {"tool_name": "x", "tool_input": {}, "target_expert": "nobody"}),
        builder.post(
            "/expert/delegate",
            {"tool_name": "Bash", "tool_input": {"command": "rm -rf /"}, "target_expert": "nobody"},
        ),
        builder.post("/task/dispatch", {"target_agent": "nobody", "task_description": "x"}),
        task := builder.post("/task/dispatch", {"target_agent": expert.agent_id, "task_description": "x"}),
        builder.post("/task/dispatch", {"target_agent": expert.agent_id, "task_description": "x"}),
        builder.get(f"/expert/assignment/{task.json()['task_id']}"),
        builder.get("/expert/assignment/x"),
        expert.get("/expert/work"),
        expert.post(
            "/expert/answer", {"work_id": task.json()["task_id"], "decision": "deny", "confidence": 1}
        ),
        expert.post("/expert/complete", {"work_id": task.json()["task_id"], "status": "completed"}),
        operator.post("/approve", {"id": "x", "status": "approved", "reason": "x"}),
        builder.post("/approve", {}),
        builder.update("openapi/a.py", "one\n"),
        builder.update("../a", "one"),
        builder.update("openapi/none", None, "delete"),
        builder.update("openapi/a.py", "two", "create"),
        builder.post(
            "/shadow/updates",
            {"agent_id": me, "updates": [{"operation": "update", "file_path": "openapi/b", "content": "x"}]},
        ),
        builder.post("/shadow/updates", {"agent_id": me, "updates": []}),
        bridge.http.put(f"/shadow/blobs/{sha}", content=b"x", headers=builder.headers),
        bridge.http.put(
            "/shadow/blobs/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
            content=b"x",
            headers=builder.headers,
        ),
        expert.get(f"/shadow/blobs/{sha}"),
        expert.get("/shadow/blobs/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
        expert.post("/shadow/blobs/fetch", {"hashes": [sha]}),
        expert.get("/shadow/tree"),
        expert.get("/shadow/tree", headers={"Accept": "application/msgpack"}),
        expert.get("/shadow/tree?at=x"),
        expert.get("/shadow/tree?x=1"),
        expert.get("/shadow/read/openapi/a.py"),
        expert.get("/shadow/read/openapi/zzz"),
        expert.get("/shadow/history/openapi/a.py"),
        expert.get("/shadow/document/openapi/a.py"),
        expert.post("/shadow/search", {"pattern": "one"}),
        expert.post("/shadow/search", {"pattern": "("}),
        expert.post(
            "/shadow/annotate",
            {"file_path": "openapi/a.py", "line": 1, "annotation": "a", "expert_id": expert.agent_id},
        ),
        expert.post(
            "/shadow/annotate", {"file_path": "openapi/a.py", "line": 1, "annotation": "a", "expert_id": "x"}
        ),
        expert.get("/shadow/document/openapi/a.py"),
        expert.get("/context"),
        expert.get("/context/none"),
        builder.post("/event/store", {"event_type": "custom"}),
        expert.post("/event/store", {"event_type": "custom"}),
        expert.get("/event/query"),
        expert.get("/event/query?limit=0"),
        expert.get("/events/stream?types=x"),
        expert.get("/events/stream?after=99999999"),
        expert.post("/session/end", {}),
        expert.post("/session/end", {}),
    ]
    for answer in answers:
        check(document, answer)
    waiting = operator.get("/pending").json()["pending"][0]["id"]
    for _ in range(2):
        decision = {"id": waiting, "status": "blocked", "reason": "x", "expires_in": 1}
        check(document, operator.post("/approve", decision))
    package = operator.get("/context").json()["packages"][0]["id"]
    check(document, operator.get(f"/context/{package}"))
    tag = operator.get("/shadow/read/openapi/a.py").headers["etag"]
    check(document, operator.get("/shadow/read/openapi/a.py", headers={"If-None-Match": tag}))


def test_every_route_documents_the_refusals_it_makes(
    document: dict[str, Any], bridge: Bridge, expert: Agent
) -> None:
    for route in ROUTES:
        url = route.path.replace("{path:path}", "a").replace("{sha256}", "x").replace("{id}", "x")
        if url == "/events/stream":
            continue
        for headers in ({}, expert.headers):
            for content in (None, b"{", b"{}", b'{"x": 1}', b"x" * (route.body_limit + 1)):
                sent = {**headers, "Content-Type": "application/json"} if content else headers
                if url == "/session/end" and headers and content in {None, b"{}"}:
                    continue
                answer = bridge.http.request(route.method, url, content=content, headers=sent)
                check(document, answer, route.path.replace(":path}", "}"))
