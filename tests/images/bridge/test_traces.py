"""Traces: what a collector hears of a request, from the hook's span to the store's, and what it never hears."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from lighthouse_bridge.environment import SettingsError
from lighthouse_bridge.settings import read_settings
from tests.images.bridge.support import REPOSITORY, Agent, Bridge
from tests.images.certificates import MountedSecret
from tests.images.collector import Collector, collecting

if TYPE_CHECKING:
    from tests.images.bridge.postgres import Postgres

Start = Callable[..., Bridge]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
KEPT, LEFT_OUT = (f"00-{TRACE}-{PARENT}-{flags}" for flags in ("01", "00"))
SERVER = 2
SECRET = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def traced(start: Start, collector: Collector, ratio: str = "0", **env: Any) -> Bridge:
    return start(LIGHTHOUSE_TRACES_URL=collector.url, LIGHTHOUSE_TRACES_RATIO=ratio, **env)


def ask(agent: Agent, command: str, traceparent: str | None = KEPT, **body: Any) -> httpx.Response:
    call = {"tool_name": "Bash", "tool_input": {"command": command}, "agent_id": agent.agent_id, **body}
    headers = {"traceparent": traceparent} if traceparent else {}
    return agent.post("/validate", call, headers=headers)


def metric(bridge: Bridge, result: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text
    name = f'lighthouse_bridge_trace_spans_total{{result="{result}"}} '
    return sum(float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name))


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.heavy)])
def test_a_call_is_one_trace_from_the_hooks_span_to_the_stores(
    start_bridge: Start, collector: Collector, engine: str, request: pytest.FixtureRequest
) -> None:
    postgres: Postgres | None = None
    if engine == "postgresql":
        postgres = request.getfixturevalue("postgres").create_database()
    bridge = traced(start_bridge, collector, postgres=postgres)
    builder = bridge.join("builder")
    begin = time.time_ns()
    assert ask(builder, "ls -la").status_code == 200
    served = collector.named("POST /validate")
    parts = [span for span in collector.wait(3) if span.parent == served.id]
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (served.parent, served.kind, served.service) == (PARENT, SERVER, "lighthouse-bridge")
    assert {span.name for span in parts} == {"rules", "store write"}
    for span in parts:
        assert begin <= served.start <= span.start <= span.end <= served.end <= time.time_ns()
    (write,) = [span for span in parts if span.name == "store write"]
    assert write.attributes["db.system.name"] == engine
    told = served.attributes
    assert told["http.response.status_code"] == 200
    assert told["http.route"] == "/validate"
    assert told["lighthouse.agent_id"] == builder.agent_id
    assert told["lighthouse.decision"] == "approved"
    assert told["lighthouse.tool_name"] == "Bash"
    assert told["lighthouse.tier"] == "policy"
    assert told["lighthouse.rule"]
    assert told["lighthouse.validation_id"]
    assert not [span for span in collector.spans if span.failed]


def test_what_memory_decides_needs_no_rules_and_what_nobody_decides_waits_for_experts(
    start_bridge: Start, collector: Collector
) -> None:
    bridge = traced(start_bridge, collector)
    builder, expert = bridge.join("builder"), bridge.join("expert")
    registration = {"agent_id": expert.agent_id, "agent_type": "security", "capabilities": ["shell"]}
    assert expert.post("/expert/register", registration).status_code == 200
    ask(builder, "ls", None)
    ask(builder, "ls")
    remembered = {span.name: span for span in collector.wait(2)}
    assert set(remembered) == {"POST /validate", "store write"}
    assert remembered["POST /validate"].attributes["lighthouse.tier"] == "memory"
    collector.spans.clear()
    ask(builder, "frobnicate --all", wait_seconds=0.3)
    names = {span.name for span in collector.wait(5)}
    assert {"rules", "classifier", "store write", "store read", "POST /validate"} <= names
    assert names & {"wait for experts", "wait for a person"}


def test_spans_hold_nothing_of_what_a_call_holds(start_bridge: Start, collector: Collector) -> None:
    bridge = traced(start_bridge, collector)
    builder = bridge.join("builder")
    ask(builder, f"echo {SECRET}", metadata={"note": SECRET})
    ask(builder, f"export KEY={SECRET}; rm -rf /", wait_seconds=0)
    builder.get(f"/events?text={SECRET}", headers={"traceparent": KEPT})
    builder.get(f"/shadow/read/{SECRET}", headers={"traceparent": KEPT})
    bridge.stop()
    everything = b"".join(collector.bodies)
    assert len([span for span in collector.spans if span.kind == SERVER]) == 4
    for word in (SECRET, builder.token, "rm -rf"):
        assert word.encode() not in everything


def test_log_lines_of_a_traced_request_name_its_trace(start_bridge: Start, collector: Collector) -> None:
    bridge = traced(start_bridge, collector)
    builder = bridge.join("builder")
    ask(builder, "ls", KEPT)
    ask(builder, "ls", None)
    bridge.stop()
    lines = [json.loads(line) for line in bridge.log.read_text().splitlines() if '"/validate"' in line]
    assert [line.get("trace_id") for line in lines] == [TRACE, None]


def test_of_traces_that_begin_here_the_share_is_kept_and_of_others_what_their_beginner_keeps(
    start_bridge: Start, collector: Collector
) -> None:
    def kept(bridge: Bridge, header: str | None) -> int:
        """How many of twenty requests are kept, followed by one that is."""
        builder = bridge.join("builder")
        for _ in range(20):
            ask(builder, "ls", header)
        last = "00-" + "a" * 32 + f"-{PARENT}-01"
        ask(builder, "ls", last)
        deadline = time.monotonic() + 15
        while not [span for span in collector.spans if span.trace == "a" * 32 and span.kind == SERVER]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found = [s for s in collector.spans if s.trace != "a" * 32 and s.name == "POST /validate"]
        collector.spans.clear()
        return len(found)

    every, none = traced(start_bridge, collector, "1"), traced(start_bridge, collector, "0")
    assert (kept(every, None), kept(every, LEFT_OUT), kept(every, KEPT)) == (20, 0, 20)
    assert (kept(none, None), kept(none, LEFT_OUT), kept(none, KEPT)) == (0, 0, 20)
    assert kept(every, "00-nonsense-01") == 20


def test_nobody_without_a_session_has_spans_made(start_bridge: Start, collector: Collector) -> None:
    bridge = traced(start_bridge, collector, "1")
    for path in ("/validate", "/session/create", "/health", "/absent"):
        bridge.http.post(path, json={}, headers={"traceparent": KEPT, "Authorization": "Bearer no"})
        bridge.http.get(path, headers={"traceparent": KEPT})
    builder = bridge.join("builder")
    ask(builder, "ls")
    collector.named("POST /validate")
    bridge.stop()
    assert {span.name for span in collector.spans if span.kind == SERVER} == {"POST /validate"}


def test_refused_and_failed_requests_say_so(start_bridge: Start, collector: Collector) -> None:
    bridge = traced(start_bridge, collector)
    builder = bridge.join("builder")
    assert ask(builder, "ls", agent_id="another").status_code == 403
    refused = collector.named("POST /validate")
    assert (refused.attributes["http.response.status_code"], refused.failed) == (403, False)


def test_a_collector_is_told_over_tls_with_the_token_of_now(
    start_bridge: Start, secret: MountedSecret, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first-token\n")
    with collecting(secret.folder, "first-token") as collector:
        bridge = traced(
            start_bridge,
            collector,
            LIGHTHOUSE_TRACES_CA_FILE=str(secret.folder / "ca.crt"),
            LIGHTHOUSE_TRACES_TOKEN_FILE=str(token),
        )
        builder = bridge.join("builder")
        ask(builder, "ls")
        collector.named("POST /validate")
        collector.spans.clear()
        collector.token = "second-token"
        ask(builder, "ls")
        bridge.wait_for(lambda: metric(bridge, "lost") > 0)
        token.write_text("second-token\n")
        ask(builder, "ls")
        collector.named("POST /validate")
        log = bridge.log.read_text()
    assert "first-token" not in log
    assert [json.loads(line) for line in log.splitlines()]


def test_a_collector_with_another_certificate_hears_nothing(
    start_bridge: Start, secret: MountedSecret
) -> None:
    with collecting(secret.folder) as collector:
        bridge = traced(start_bridge, collector)
        ask(bridge.join("builder"), "ls")
        bridge.wait_for(lambda: metric(bridge, "lost") > 0, 20)
        assert collector.paths == []
    assert "traces" in bridge.log.read_text()


def test_a_collector_that_is_away_keeps_nobody_waiting(start_bridge: Start) -> None:
    with collecting() as collector:
        pass
    bridge = traced(start_bridge, collector, "1")
    builder = bridge.join("builder")
    begin = time.monotonic()
    for _ in range(50):
        assert ask(builder, "ls").status_code == 200
    assert time.monotonic() - begin < 10
    begin = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - begin < 10
    assert [json.loads(line) for line in bridge.log.read_text().splitlines()]


def test_the_last_spans_are_sent_before_the_end(start_bridge: Start, collector: Collector) -> None:
    bridge = traced(start_bridge, collector)
    ask(bridge.join("builder"), "ls")
    bridge.stop()
    assert "POST /validate" in {span.name for span in collector.spans}


def test_without_a_collector_nothing_that_makes_or_sends_spans_is_loaded() -> None:
    script = (
        "import sys, lighthouse_bridge.__main__; "
        "kinds = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'requests'); "
        "print([name for name in sys.modules if name.startswith(kinds)])"
    )
    environment = {"PYTHONPATH": str(REPOSITORY / "images" / "bridge")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"URL": "collector:4318"}, "name where a collector takes spans, such as https://"),
        (
            {"URL": "https://me:word@collector/v1/traces"},
            "holds a user or password; use LIGHTHOUSE_TRACES_TOKEN_FILE",
        ),
        ({"URL": "http://collector/v1/traces", "TOKEN_FILE": "/token"}, "show the token to everybody"),
        ({"CA_FILE": "/ca.crt"}, "is set without a server; name it with LIGHTHOUSE_TRACES_URL"),
        ({"URL": "https://collector/v1/traces", "RATIO": "2"}, "must be a number from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_in_one_sentence(env: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        read_settings({f"LIGHTHOUSE_TRACES_{name}": value for name, value in env.items()})
    assert "word" not in str(refused.value).replace("password", "")
