"""Every answer code that the API documents is really given, and every answer given is as documented."""

import hashlib
import http.client
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lighthouse_bridge.route import Route
from lighthouse_bridge.routes import ROUTES
from tests.images.bridge.support import KEYS, Agent, Bridge, running
from tests.images.bridge.test_openapi import check, resolve

pytestmark = pytest.mark.heavy  # several bridges, some of them broken on purpose

SHA = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
STREAM = "/events/stream"
Answer = tuple[str, str, int]


def url(route: Route) -> str:
    """A path of the route that is well formed."""
    return route.path.replace("{path:path}", "a").replace("{sha256}", "0" * 64).replace("{id}", "x" * 32)


def template(route: Route) -> str:
    return route.path.replace(":path}", "}")


class Recorder:
    """Notes which route gave which code, and checks each answer against the description."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[Answer] = set()
        self._names = {id(item): path for path, item in document["paths"].items()}

    def watch(self, bridge: Bridge) -> None:
        """Note all answers of a bridge from now on."""
        bridge.http.event_hooks = {"response": [self._note]}

    def note(self, route: Route, answer: httpx.Response) -> None:
        """Note an answer of a route whose path in it is not well formed."""
        self.seen.add((route.method, template(route), answer.status_code))

    def _note(self, answer: httpx.Response) -> None:
        path = answer.request.url.path
        if path == STREAM and answer.status_code == 200:
            self.seen.add(("GET", STREAM, 200))
            return
        answer.read()
        check(self.document, answer)
        for known in self._templates(path):
            self.seen.add((answer.request.method, known, answer.status_code))

    def _templates(self, path: str) -> Iterator[str]:
        item = resolve(self.document, path)
        for known, candidate in self.document["paths"].items():
            if candidate == item:
                yield known


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    from lighthouse_bridge.openapi import build_openapi  # noqa: PLC0415 - the document of this source

    return Recorder(build_openapi(ROUTES, "1"))


def test_doors_are_shut_as_documented(recorder: Recorder, start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    recorder.watch(own)
    agents = {role: own.join(role) for role in KEYS}
    for route in ROUTES:
        path, highest = url(route), agents["operator"].headers
        own.http.request(route.method, path)
        if path == "/session/end":
            for content, kind in (
                (b"{", "json"),
                (b'{"x": 1}', "json"),
                (b"{}", "text"),
                (b"x" * 2**21, "json"),
            ):
                typed = {**own.join("operator").headers, "Content-Type": f"application/{kind}"}
                own.http.post(path, headers=typed, content=content)
            continue
        if path == STREAM:
            own.http.get(path + "?x=1", headers=highest)
        else:
            for agent in agents.values():
                own.http.request(route.method, path, headers=agent.headers)
        if "{" in route.path:
            bad = route.path.replace("{path:path}", "%ff").replace("{sha256}", "%ff").replace("{id}", "%ff")
            recorder.note(route, own.http.request(route.method, bad, headers=highest, content=b"x"))
        if route.query is not None:
            own.http.get(path + "?no_such_parameter=1", headers=highest)
        if route.has_body or route.raw_body:
            typed = {**highest, "Content-Type": "application/json"}
            own.http.request(route.method, path, headers=highest, content=b"{}")
            for content in (b"{", b'{"no_such_field": 1}', b"x" * (route.body_limit + 1)):
                own.http.request(route.method, path, headers=typed, content=content)
    own.http.post("/session/create", json={"agent_id": "x"})
    recorder.seen.add(("PUT", "/shadow/blobs/{sha256}", declared_too_large(own, agents["builder"])))


def declared_too_large(own: Bridge, agent: Agent) -> int:
    """The answer to a blob that would be too large, of which nothing is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", own.port, timeout=20)
    headers = {**agent.headers, "Content-Length": str(2**30), "User-Agent": own.http.headers["User-Agent"]}
    connection.putrequest("PUT", f"/shadow/blobs/{SHA}")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_limits_answer_as_documented(recorder: Recorder, start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_AGENT_PER_MINUTE="1")
    recorder.watch(own)
    for route in ROUTES:
        if 429 in route.statuses and not route.public:
            noisy = own.join("builder")
            own.http.get("/rules", headers=noisy.headers)
            for _ in range(2):
                # A stream would be read to its end, which never comes.
                with own.http.stream(route.method, url(route), headers=noisy.headers):
                    pass


def test_a_store_that_is_away_is_told_as_documented(recorder: Recorder, tmp_path: Path) -> None:
    with running(Bridge(tmp_path / "state")) as own:
        token = own.join("operator").headers
        own.stop()
        own.store.unlink()
        own.store.mkdir()
        own.start()
        recorder.watch(own)
        for route in ROUTES:
            own.http.request(route.method, url(route), headers=token)
        body = {"agent_id": "late"}
        own.http.post("/session/create", json=body, headers={"Authorization": f"Bearer {KEYS['expert']}"})


def use_sessions(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    for path in (
        "/health",
        "/health/live",
        "/health/ready",
        "/health/startup",
        "/ready",
        "/status",
        "/openapi.json",
    ):
        own.http.get(path)
    other = own.join("expert")
    expert.post("/session/validate", {"session_token": other.token, "agent_id": other.agent_id})
    operator.get("/sessions")
    operator.post("/session/end", {"session_id": "0" * 32})
    expert.post("/session/end", {"session_id": "0" * 32})
    other.post("/session/end", {})


def use_validation(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    call = {"tool_name": "Bash", "agent_id": builder.agent_id, "wait_seconds": 0}
    builder.post("/validate", {**call, "tool_input": {"command": "ls"}})
    waits = builder.post("/validate", {**call, "tool_input": {"command": "./unknown"}}).json()
    operator.get("/pending")
    decision = {
        "id": waits["metadata"]["validation_id"],
        "status": "approved",
        "reason": "x",
        "remember": "agent",
    }
    for _ in range(2):
        operator.post("/approve", decision)
    operator.post("/approve", {**decision, "id": "none"})
    approval = operator.get("/approvals").json()["approvals"][0]["approval_id"]
    for _ in range(2):
        operator.post("/approvals/revoke", {"approval_id": approval, "reason": "x"})
    expert.get("/rules")
    expert.post("/rules/explain", {"tool_name": "Bash", "tool_input": {"command": "ls"}})
    expert.get("/context")
    expert.get(f"/context/{waits['metadata']['validation_id']}")
    expert.get("/context/none")


def use_experts(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    me = {"agent_id": expert.agent_id}
    expert.post("/expert/heartbeat", me)
    expert.get("/expert/work")
    registration = {**me, "agent_type": "security", "capabilities": ["code_review"]}
    for agent_id in (expert.agent_id, "other"):
        expert.post("/expert/register", {**registration, "agent_id": agent_id})
        expert.post("/expert/heartbeat", {"agent_id": agent_id})
    for _ in range(12):
        expert.post("/expert/register", registration)
    builder.get("/expert/work")
    expert.get("/experts")
    ask = {"tool_name": "Bash", "tool_input": {"command": "./some-tool"}, "wait_seconds": 0}
    builder.post("/validate", {**ask, "agent_id": builder.agent_id})
    work = expert.get("/expert/work").json()["work"]["work_id"]
    answer = {"work_id": work, "decision": "approve", "confidence": 0.9}
    expert.post("/expert/complete", {"work_id": work, "status": "completed"})
    for decision in ("approve", "deny"):
        expert.post("/expert/answer", {**answer, "decision": decision})
    expert.post("/expert/answer", {**answer, "work_id": "none"})
    expert.post("/expert/complete", {"work_id": "none", "status": "completed"})
    builder.post("/expert/answer", answer)
    builder.post("/expert/complete", {"work_id": "none", "status": "completed"})
    target = {"target_expert": expert.agent_id, "tool_name": "Read", "tool_input": {"file_path": "a"}}
    given = builder.post("/expert/delegate", target).json()["delegation_id"]
    builder.post("/expert/delegate", target)
    builder.post("/expert/delegate", {**target, "target_expert": "nobody"})
    task = {"target_agent": expert.agent_id, "task_description": "x"}
    builder.post("/task/dispatch", task)
    builder.post("/task/dispatch", {**task, "target_agent": "nobody"})
    builder.get(f"/expert/assignment/{given}")
    builder.get("/expert/assignment/none")
    builder.post("/collaboration/start", {"participants": [expert.agent_id]})
    expert.post("/expert/complete", {"work_id": given, "status": "completed"})
    done = builder.post("/task/dispatch", task).json()["task_id"]
    expert.post("/expert/complete", {"work_id": done, "status": "completed"})


def use_talks(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    started = builder.post("/collaboration/start", {"participants": [expert.agent_id]}).json()["session_id"]
    builder.post("/collaboration/start", {"participants": ["nobody"]})
    for session_id in (started, "0" * 32):
        builder.post("/collaboration/message", {"session_id": session_id, "message": "x"})
        builder.get(f"/collaboration/{session_id}")
        builder.post("/collaboration/end", {"session_id": session_id})
    builder.post("/collaboration/message", {"session_id": started, "message": "x"})
    pair = builder.post("/pair/request", {"requester": builder.agent_id, "task": "x"}).json()["session_id"]
    builder.post("/pair/request", {"requester": "other", "task": "x"})
    for session_id in ("0" * 32, pair, pair):
        expert.post("/pair/accept", {"session_id": session_id, "partner": expert.agent_id})
        builder.post("/pair/accept", {"session_id": session_id, "partner": builder.agent_id})
    stranger = own.join("expert")
    made = ""
    for session_id in ("0" * 32, pair):
        for agent in (stranger, expert):
            suggestion = {"session_id": session_id, "agent": agent.agent_id, "suggestion": "x"}
            made = agent.post("/pair/suggest", suggestion).json().get("suggestion_id", "0" * 32)
    for reviewer in (stranger, builder, builder):
        review = {
            "session_id": pair,
            "suggestion_id": made,
            "reviewer": reviewer.agent_id,
            "decision": "approve",
        }
        reviewer.post("/pair/review", review)
    builder.post("/pair/review", {**review, "suggestion_id": "0" * 32})
    for session_id in ("0" * 32, pair, pair):
        for agent in (stranger, builder):
            body = {"session_id": session_id, "agent": agent.agent_id, "outcome": "completed"}
            agent.post("/pair/end", body)
    builder.post("/pair/suggest", {"session_id": pair, "agent": builder.agent_id, "suggestion": "x"})
    expert.get("/pair/sessions")


def use_elicitations(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {"from_agent": builder.agent_id, "to_agent": expert.agent_id, "message": "x", "schema": schema}
    asked = builder.send("/elicitation/create", body).json()["elicitation_id"]
    builder.send("/elicitation/create", {**body, "from_agent": "other"})
    builder.send("/elicitation/create", {**body, "to_agent": builder.agent_id})
    expert.get(f"/elicitation/pending?agent_id={expert.agent_id}")
    expert.get("/elicitation/pending?agent_id=other")
    answer = {"elicitation_id": asked, "response_type": "decline"}
    for agent in (builder, expert, expert):
        agent.send("/elicitation/respond", {**answer, "responding_agent": agent.agent_id})
    none = {**answer, "elicitation_id": "0" * 32, "responding_agent": builder.agent_id}
    builder.send("/elicitation/respond", none)
    builder.get(f"/elicitation/status/{asked}")
    builder.get("/elicitation/status/none")
    builder.get("/elicitation/metrics")
    for _ in range(34):
        asker = own.join("builder")
        for _ in range(3):
            asker.send("/elicitation/create", {**body, "from_agent": asker.agent_id})
    asker.send(
        "/elicitation/create", {**body, "from_agent": asker.agent_id, "to_agent": secrets.token_hex(4)}
    )


def use_tree(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    builder.update("docs/a.py", "one\n")
    builder.update("docs/a.py", "two\n", "create")
    builder.update("docs/none", None, "delete")
    builder.update("docs/b", "x", agent_id="other")
    change = {"operation": "update", "file_path": "docs/b", "content": "x"}
    many = {"agent_id": builder.agent_id, "updates": [change]}
    builder.post("/shadow/updates", many)
    builder.post("/shadow/updates", {**many, "updates": [{**change, "operation": "create"}]})
    builder.post("/shadow/updates", {**many, "updates": [{**change, "expected_hash": "0" * 64}]})
    builder.post("/shadow/updates", {**many, "updates": [{"operation": "delete", "file_path": "docs/none"}]})
    for content in (b"fresh", b"fresh", b"other"):
        name = hashlib.sha256(b"fresh").hexdigest()
        own.http.put(f"/shadow/blobs/{name}", content=content, headers=builder.headers)
    for name in (SHA, "0" * 64):
        expert.get(f"/shadow/blobs/{name}")
    expert.post("/shadow/blobs/fetch", {"hashes": [SHA]})
    expert.get("/shadow/tree")
    expert.get("/shadow/tree?at=x")
    for kind in ("read", "document", "history"):
        found = expert.get(f"/shadow/{kind}/docs/a.py")
        expert.get(f"/shadow/{kind}/docs/none")
        if "etag" in found.headers:
            expert.get(f"/shadow/{kind}/docs/a.py", headers={"If-None-Match": found.headers["etag"]})
    expert.get("/shadow/blobs/" + SHA, headers={"If-None-Match": f'"{SHA}"'})
    expert.post("/shadow/search", {"pattern": "one"})
    note = {"file_path": "docs/a.py", "line": 1, "annotation": "x", "expert_id": expert.agent_id}
    expert.post("/shadow/annotate", note)
    expert.post("/shadow/annotate", {**note, "expert_id": "other"})
    expert.post("/shadow/annotate", {**note, "file_path": "docs/none"})


def use_events(own: Bridge, operator: Agent, builder: Agent, expert: Agent) -> None:
    event = {"event_type": "custom"}
    builder.post("/event/store", event)
    builder.post("/event/store", {**event, "agent_id": "other"})
    expert.get("/event/query")
    expert.get("/event/query?start_time=x")
    expert.get("/events?types=x")
    expert.get("/events/head?sequence=999999999")
    aggregate = {**event, "aggregate_id": "one", "expected_version": 7}
    for path in ("/event/store", "/events"):
        builder.post(path, event)
        builder.post(path, aggregate)
    for events in ([event], [aggregate]):
        builder.post("/events/batch", {"events": events})
    builder.update("restored.txt", "x")
    for _ in range(2):
        operator.post("/snapshot/walked")
        operator.post("/snapshot/walked", {})
    builder.update("shape/file", "x")
    operator.post("/snapshot/shaped")
    builder.update("shape/file", None, "delete")
    builder.update("shape", "no folder any more")
    operator.post("/restore", {"snapshot": "shaped", "file_paths": ["shape/file"]})
    for name in ("walked", "none"):
        operator.post("/restore", {"snapshot": name})
    expert.get(f"{STREAM}?types=x")
    expert.get(f"{STREAM}?after=999999999")
    with own.http.stream("GET", STREAM, headers=expert.headers) as answer:
        assert answer.status_code == 200


USES = (
    use_sessions,
    use_validation,
    use_experts,
    use_talks,
    use_elicitations,
    use_tree,
    use_events,
)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.removeprefix("use_"))
def test_work_is_answered_as_documented(
    recorder: Recorder,
    start_bridge: Callable[..., Bridge],
    use: Callable[[Bridge, Agent, Agent, Agent], None],
) -> None:
    own = start_bridge()
    recorder.watch(own)
    operator, builder, expert = own.join("operator"), own.join("builder"), own.join("expert")
    if use is use_talks:
        body = {"agent_id": expert.agent_id, "agent_type": "security", "capabilities": ["code_review"]}
        expert.post("/expert/register", body)
    use(own, operator, builder, expert)


def test_no_documented_answer_is_missing(recorder: Recorder) -> None:
    documented = {(route.method, template(route), status) for route in ROUTES for status in route.statuses}
    assert len(documented) > 300
    missing = sorted(documented - recorder.seen)
    assert not missing, "\n".join(f"{method} {path} never answered {code}" for method, path, code in missing)
