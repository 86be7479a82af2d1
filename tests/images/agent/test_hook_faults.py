"""The hook blocks whatever goes wrong with the bridge, and says so in one sentence."""

import io
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lighthouse_agent.judgement import BadInputError, BlockedError, judge
from tests.images.agent.hooks import APPROVED, CALL, HOOK, assert_blocked, hook, verdict
from tests.images.agent.support import KEYS, SESSION_ANSWER, TOKEN, RawServer, answer
from tests.ports import free_port

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits

Server = Callable[[Mapping[str, Any]], RawServer]


def test_an_approved_call_may_run_and_nothing_is_printed(raw_server: Server, env: dict[str, str]) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})
    assert hook(env, url=server.url) == (0, "")
    assert server.requests[0][2]["authorization"] == f"Bearer {KEYS['builder']}"
    assert server.requests[1][2]["authorization"] == f"Bearer {TOKEN}"
    assert server.connections == 1, "the session and the verdict use one connection"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        pytest.param(
            verdict("blocked", reasoning="It deletes\nthe home folder."),
            "deletes the home folder;",
            id="blocked",
        ),
        pytest.param(verdict("escalate"), "for an expert's review (validation v-17)", id="review"),
        pytest.param(verdict("uncertain"), "for an expert's review", id="unknown-decision"),
        pytest.param(verdict("blocked", approved=True), "contradicts itself", id="approved-but-blocked"),
        pytest.param(verdict("approved", approved=False), "contradicts itself", id="blocked-but-approved"),
        pytest.param(verdict("blocked", reasoning="\x1b[2J" + "x" * 9000), "xxx", id="hostile-reason"),
    ],
)
def test_any_other_verdict_blocks(raw_server: Server, env: dict[str, str], body: Any, part: str) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": answer(200, body)})
    outcome = hook(env, url=server.url)
    assert_blocked(outcome, part)
    assert "\x1b" not in outcome[1]
    assert len(outcome[1]) < 2000


@pytest.mark.parametrize(
    ("reply", "part"),
    [
        pytest.param(answer(500, {"detail": "The store broke."}), "500: The store broke", id="500"),
        pytest.param(answer(503, {"detail": "Draining."}), "503: Draining", id="503"),
        pytest.param(answer(502, b"<html>bad gateway</html>"), "502: no reason given", id="502-html"),
        pytest.param(
            answer(403, {"detail": "Role expert may not validate."}), "Role expert may not", id="403"
        ),
        pytest.param(answer(429, {"detail": "Too many."}), "429", id="429"),
        pytest.param(answer(302, b""), "302", id="redirect"),
        pytest.param(answer(200, b""), "something else than promised", id="empty"),
        pytest.param(answer(200, b'{"approved": true, "reaso'), "something else", id="truncated-json"),
        pytest.param(
            lambda c: c.sendall(answer(200, verdict(), length=5000)),
            "before the answer was complete",
            id="cut-off",
        ),
        pytest.param(answer(200, verdict(approved="true")), "something else", id="approved-as-text"),
        pytest.param(answer(200, verdict(approved=1)), "something else", id="approved-as-number"),
        pytest.param(answer(200, {"approved": True}), "something else", id="fields-missing"),
        pytest.param(answer(200, verdict(metadata={})), "something else", id="decision-missing"),
        pytest.param(answer(200, [True]), "something else", id="a-list"),
        pytest.param(answer(200, b"\xff\xfe"), "something else", id="not-utf-8"),
        pytest.param(answer(200, b"[" * 100_000), "something else", id="deep"),
        pytest.param(answer(200, b" " * (4 * 1024 * 1024 + 1)), "more than 4194304 bytes", id="huge"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer", id="not-http"),
        pytest.param(lambda c: None, "closed before the answer", id="closed"),
        pytest.param(
            lambda c: c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
            "did not answer",
            id="reset",
        ),
        pytest.param(answer(400, {"detail": TOKEN + KEYS["builder"]}), "[hidden]", id="echoes-secrets"),
    ],
)
def test_a_bridge_at_fault_blocks(raw_server: Server, env: dict[str, str], reply: Any, part: str) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": reply})
    assert_blocked(hook(env, url=server.url), "could not be judged", part)


def drip(connection: socket.socket) -> None:
    """An approval that would take a minute, always soon enough for a limit on silence."""
    for byte in APPROVED:
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


def test_the_hook_blocks_within_the_limit(raw_server: Server, env: dict[str, str]) -> None:
    """A silent bridge, one that drips, and a caller that never ends its input: at once, to save time."""
    urls = [
        raw_server({"/session/create": SESSION_ANSWER, "/validate": step}).url
        for step in (lambda _connection: time.sleep(8), drip)
    ]
    started = time.monotonic()
    running = [
        subprocess.Popen(
            HOOK, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env={**env, "LIGHTHOUSE_BRIDGE_URL": url}
        )
        for url in (*urls, "http://127.0.0.1:9")
    ]
    for process in running[:2]:
        assert process.stdin is not None
        process.stdin.write(json.dumps(CALL).encode())
        process.stdin.close()
    for process in running:
        assert process.stderr is not None
        with process.stderr:
            sentence = process.stderr.read().decode()
        assert_blocked((process.wait(5), sentence), "no verdict came within 4.5 s")
    assert time.monotonic() - started < 5.5, "the limit and the start of three processes on a busy machine"
    assert running[2].stdin is not None
    running[2].stdin.close()


def test_a_stopped_hook_blocks(env: dict[str, str]) -> None:
    with subprocess.Popen(HOOK, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as running:
        assert running.stderr is not None
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        assert b"signal 15 stopped the hook" in running.stderr.read()
        assert running.wait(5) == 2


def test_no_bridge_blocks(env: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert_blocked(hook(env, url=url), url, "Connection refused", "LIGHTHOUSE_BRIDGE_URL")
    assert_blocked(hook(env, url="http://no-such-host.invalid"), "its name cannot be resolved")
    assert_blocked(hook(env), "LIGHTHOUSE_BRIDGE_URL is not set")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        (None, "LIGHTHOUSE_BRIDGE_URL is not set"),
        ("bridge:8765", "is not an http or https address"),
        ("ftp://bridge", "is not an http or https address"),
        ("http://", "is not an http or https address"),
        ("http://bridge:port", "is no address"),
        ("http://user:word@bridge", "must not hold a user or password"),
    ],
)
def test_an_unusable_address_blocks(url: str | None, part: str) -> None:
    env = {"LIGHTHOUSE_BRIDGE_URL": url} if url else {}
    with pytest.raises(BlockedError, match=part):
        judge(io.BytesIO(json.dumps(CALL).encode()), env, timeout=1)


@pytest.mark.parametrize("content", [None, "", "two words", "ключ", "k" * 5000])
def test_an_unusable_key_blocks(raw_server: Server, env: dict[str, str], content: str | None) -> None:
    server = raw_server({})
    key = Path(env["LIGHTHOUSE_KEY_FILE"])
    key.unlink()
    if content is not None:
        key.write_text(content)
    assert_blocked(hook(env, url=server.url), str(key), "LIGHTHOUSE_KEY_FILE")
    assert server.requests == []


def test_a_refused_key_blocks_and_names_its_file(raw_server: Server, env: dict[str, str]) -> None:
    server = raw_server({"/session/create": answer(401, {"detail": "Unknown join key."})})
    assert_blocked(hook(env, url=server.url), "refused the join key", env["LIGHTHOUSE_KEY_FILE"])
    assert server.count("/session/create") == 1


@pytest.mark.parametrize(
    "token", ["", "two words", "line\nfeed", "ü"], ids=["empty", "space", "line-feed", "not-ascii"]
)
def test_a_token_no_header_can_carry_blocks(raw_server: Server, env: dict[str, str], token: str) -> None:
    session = {"session_id": "0", "session_token": token, "agent_id": "agent-1", "role": "builder"}
    assert_blocked(
        hook(env, url=raw_server({"/session/create": answer(200, session)}).url), "no header can carry"
    )


def test_what_is_no_tool_call_is_bad_input(env: dict[str, str]) -> None:
    code, sentence = hook(env, b"{", url="http://127.0.0.1:9")
    assert code == 1
    assert sentence.startswith("Lighthouse cannot read the tool call: stdin is not JSON")
    assert sentence.count("\n") == 1


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff{}", "not JSON"),
        (b"[]", "a JSON list"),
        (b"null", "a JSON NoneType"),
        (b"{}", "tool_name"),
        (b'{"tool_name": 1}', "tool_name"),
        (b'{"tool_name": ""}', "tool_name"),
        (b'{"tool_name": "Bash"}', "tool_input"),
        (b'{"tool_name": "Bash", "tool_input": "ls"}', "tool_input"),
        (b'{"tool_name": "Bash", "tool_input": {}}', "agent_id (and LIGHTHOUSE_AGENT_ID) is missing"),
        (b'{"tool_name": "Bash", "tool_input": {}, "agent_id": 7}', "agent_id is not text"),
        (b'{"tool_name": "Bash", "tool_input": {}, "agent_id": "a:b"}', "'a:b' is not an agent id"),
    ],
)
def test_each_kind_of_bad_input_is_named(raw: bytes, part: str) -> None:
    with pytest.raises(BadInputError) as caught:
        judge(io.BytesIO(raw), {"LIGHTHOUSE_BRIDGE_URL": "http://127.0.0.1:9"}, timeout=1)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        pytest.param(
            json.dumps({**CALL, "tool_input": {"content": "x" * 1024 * 1024}}).encode(), "larger", id="size"
        ),
        pytest.param(b'{"a":' + b"[" * 200_000, "nested too deeply", id="depth"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "number too long", id="number"),
        pytest.param(
            json.dumps({**CALL, "tool_input": {"command": "\ud800"}}).encode(), "Unicode", id="surrogate"
        ),
    ],
)
def test_a_call_that_cannot_be_judged_blocks(
    raw_server: Server, env: dict[str, str], raw: bytes, part: str
) -> None:
    server = raw_server({"/session/create": SESSION_ANSWER, "/validate": APPROVED})
    assert_blocked(hook(env, raw, url=server.url), part)
