"""The hook's span: it begins a trace or goes on with its caller's, and never delays or changes a verdict."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.images.agent.hooks import APPROVED, CALL, assert_blocked, hook, verdict
from tests.images.agent.support import SESSION_ANSWER, RawServer, answer
from tests.images.bridge.support import KEYS, running
from tests.images.bridge.support import Bridge as TracedBridge
from tests.images.certificates import MountedSecret
from tests.images.collector import Collector, collecting
from tests.ports import free_port

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits

Server = Callable[[Mapping[str, Any]], RawServer]
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENT = 3


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture
def traced(env: dict[str, str], collector: Collector) -> dict[str, str]:
    """A hook's environment whose every call has a span."""
    return {**env, "LIGHTHOUSE_TRACES_URL": collector.url, "LIGHTHOUSE_TRACES_RATIO": "1"}


@pytest.fixture
def approving(raw_server: Server) -> RawServer:
    """A bridge that approves everything."""
    return raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})


def told(server: RawServer) -> str | None:
    """The trace context that came with the question for a verdict."""
    (headers,) = [headers for _, path, headers, *_ in server.requests if path == "/validate"]
    found: str | None = headers.get("traceparent")
    return found


def test_a_call_is_one_trace_from_the_hook_to_the_bridge(
    env: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    both = {"LIGHTHOUSE_TRACES_URL": collector.url, "LIGHTHOUSE_TRACES_RATIO": "0"}
    with running(TracedBridge(tmp_path / "traced", both)) as bridge:
        (tmp_path / "key").write_text(KEYS["builder"])
        hooks = {**env, **both, "LIGHTHOUSE_TRACES_RATIO": "1", "LIGHTHOUSE_KEY_FILE": str(tmp_path / "key")}
        assert hook(hooks, url=bridge.url) == (0, "")
        hooked, served = collector.named("lighthouse-hook"), collector.named("POST /validate")
    assert (hooked.parent, hooked.kind, hooked.service) == ("", CLIENT, "lighthouse-hook")
    assert (served.trace, served.parent) == (hooked.trace, hooked.id)
    assert hooked.start < served.start < served.end < hooked.end
    assert hooked.attributes == {"lighthouse.outcome": "allowed"}
    assert collector.named("store write").parent == served.id


def test_a_hook_goes_on_with_the_trace_of_its_caller(
    traced: dict[str, str], collector: Collector, approving: RawServer
) -> None:
    assert hook({**traced, "TRACEPARENT": f"00-{TRACE}-{CALLER}-01"}, url=approving.url) == (0, "")
    span = collector.named("lighthouse-hook")
    assert (span.trace, span.parent) == (TRACE, CALLER)
    assert told(approving) == f"00-{TRACE}-{span.id}-01"


def test_without_a_collector_the_bridge_is_told_of_the_callers_span(
    env: dict[str, str], approving: RawServer
) -> None:
    given = f"00-{TRACE}-{CALLER}-01"
    assert hook({**env, "TRACEPARENT": given}, url=approving.url) == (0, "")
    assert told(approving) == given


@pytest.mark.parametrize(
    "given", ["", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{CALLER}-01\r\nX: y", f"ff-{TRACE}-{CALLER}-01"]
)
def test_without_a_trace_the_bridge_is_told_of_none(
    env: dict[str, str], approving: RawServer, given: str
) -> None:
    assert hook({**env, "TRACEPARENT": given}, url=approving.url) == (0, "")
    assert told(approving) is None


def test_a_trace_that_its_beginner_does_not_keep_has_no_span(
    traced: dict[str, str], collector: Collector, approving: RawServer
) -> None:
    assert hook({**traced, "TRACEPARENT": f"00-{TRACE}-{CALLER}-00"}, url=approving.url) == (0, "")
    header = told(approving)
    assert header is not None
    assert header.startswith(f"00-{TRACE}-")
    assert header.endswith("-00")
    assert collector.paths == []


def test_a_refusal_is_a_span_too_and_says_nothing_of_the_call(
    traced: dict[str, str], collector: Collector, raw_server: Server
) -> None:
    blocking = answer(200, verdict("blocked", reasoning="It deletes the home folder."))
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": blocking})
    call = {**CALL, "tool_input": {"command": "rm -rf ~/planted-name"}}
    assert_blocked(hook(traced, call, url=server.url), "home folder")
    assert collector.named("lighthouse-hook").attributes == {"lighthouse.outcome": "blocked"}
    assert b"planted-name" not in b"".join(collector.bodies)


def test_spans_go_over_tls_with_a_token(
    env: dict[str, str], approving: RawServer, secret: MountedSecret, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a-token\n")
    with collecting(secret.folder, "a-token") as collector:
        wanted = {
            "LIGHTHOUSE_TRACES_URL": collector.url,
            "LIGHTHOUSE_TRACES_RATIO": "1",
            "LIGHTHOUSE_TRACES_CA_FILE": str(secret.folder / "ca.crt"),
            "LIGHTHOUSE_TRACES_TOKEN_FILE": str(tmp_path / "token"),
        }
        assert hook({**env, **wanted}, url=approving.url) == (0, "")
        assert collector.named("lighthouse-hook")


@pytest.mark.parametrize(
    "trouble", ["nobody listens", "silent", "refuses", "no address", "no token", "plain text"]
)
def test_a_collector_that_does_not_take_the_span_changes_no_verdict(
    traced: dict[str, str], collector: Collector, approving: RawServer, tmp_path: Path, trouble: str
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        wrong = {
            "nobody listens": {"LIGHTHOUSE_TRACES_URL": f"http://127.0.0.1:{free_port()}/"},
            "silent": {"LIGHTHOUSE_TRACES_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/"},
            "refuses": {},
            "no address": {"LIGHTHOUSE_TRACES_URL": "collector"},
            "plain text": {"LIGHTHOUSE_TRACES_TOKEN_FILE": str(tmp_path / "key")},
            "no token": {"LIGHTHOUSE_TRACES_TOKEN_FILE": str(tmp_path / "absent")},
        }[trouble]
        if trouble == "refuses":
            collector.refusals.append(503)
        begin = time.monotonic()
        code, said = hook({**traced, **wrong}, url=approving.url)
    assert code == 0
    assert said.startswith("Lighthouse could not send this call's span to LIGHTHOUSE_TRACES_URL: ")
    assert said.count("\n") == 1
    assert time.monotonic() - begin < 3
