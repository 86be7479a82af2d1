"""Policies in Rego: the same answers in process and from an OPA server, only ever stricter, and denied on failure."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization

from lighthouse_bridge.decider import Decider
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rego import EngineError
from lighthouse_bridge.decisions.rules import RulesError, load_rules
from lighthouse_bridge.decisions.verdict import Decision, Verdict
from lighthouse_bridge.environment import SettingsError
from lighthouse_bridge.rego import Engine, InProcess, Server
from lighthouse_bridge.remote import Remote
from lighthouse_bridge.rulebook import Sources
from lighthouse_bridge.settings import read_settings
from tests.images.bridge.labelled import load_calls
from tests.images.bridge.postgres import certificate
from tests.images.bridge.support import REPOSITORY, RULES
from tests.images.bridge.test_corpus import shows_a_way
from tests.ports import free_port

POLICIES = REPOSITORY / "policies" / "rego"
DOCUMENT = "/v1/data/lighthouse/decisions"
JUDGE = Judge(load_rules(RULES), ())
# What the shipped examples say: tool, input, and the rules that refuse it.
EXAMPLES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("Bash", {"command": "terraform destroy -auto-approve"}, {"infrastructure.destroy"}),
    ("Bash", {"command": "cd infra && (nohup sh -c 'tofu destroy')"}, {"infrastructure.destroy"}),
    ("Bash", {"command": "terraform plan"}, set()),
    ("Bash", {"command": "pip install git+https://example.com/x"}, {"infrastructure.unpinned"}),
    ("Bash", {"command": "pip install requests"}, set()),
    ("Write", {"file_path": "infra/prod.tfstate", "content": "{}"}, {"infrastructure.state"}),
    ("Write", {"file_path": "src/app.py", "content": "x"}, set()),
]


def ask(engine: Engine, tool: str, tool_input: dict[str, Any]) -> list[tuple[str, str]]:
    document = JUDGE.describe(tool, tool_input, JUDGE.decide(tool, tool_input))
    return sorted((finding.rule, finding.decision.label) for finding in asyncio.run(engine.ask(document)))


def decide(decider: Decider, tool: str, tool_input: dict[str, Any]) -> Verdict:
    return asyncio.run(decider.decide(tool, tool_input))[0]


def loaded(**sources: Any) -> Decider:
    decider = Decider(Sources(RULES, **sources))
    decider.load()
    return decider


@pytest.mark.parametrize(("tool", "tool_input", "rules"), EXAMPLES)
def test_the_examples_refuse_what_they_say(tool: str, tool_input: dict[str, Any], rules: set[str]) -> None:
    verdict = decide(loaded(rego=POLICIES), tool, tool_input)
    plain = JUDGE.decide(tool, tool_input)
    found = [finding for finding in verdict.findings if finding.layer == "rego"]
    assert {finding.rule for finding in found} == rules
    assert verdict.decision >= plain.decision
    assert not [finding.reason for finding in found if not shows_a_way(finding.reason)]
    if verdict.rule in rules:
        assert verdict.layer == "rego"


def test_policies_add_to_the_version_that_decisions_name(tmp_path: Path) -> None:
    decider = loaded(rego=POLICIES)
    assert decider.version != loaded().version
    (tmp_path / "x.rego").write_text(
        "package lighthouse\nimport rego.v1\ndecisions contains x if { false; x := 1 }\n"
    )
    changing = loaded(rego=tmp_path)
    before = changing.version
    (tmp_path / "x.rego").write_text(
        "package lighthouse\nimport rego.v1\n"
        'decisions contains {"decision": "block", "rule": "x.all", "reason": "All is refused; wait."} if { true }\n'
    )
    changing.reload_if_changed()
    assert changing.version != before
    assert decide(changing, "Bash", {"command": "ls"}).rule == "x.all"


@pytest.mark.parametrize("content", ["package lighthouse\ndecisions contains {", None])
def test_policies_that_cannot_be_compiled_are_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bad.rego").write_text(content)
    with pytest.raises(RulesError, match=str(tmp_path)):
        InProcess(tmp_path)


@pytest.mark.parametrize(
    "body",
    [
        'decisions contains {"decision": "approve", "rule": "x.y", "reason": "It is fine."} if { true }',
        'decisions contains "no" if { true }',
        'decisions contains {"decision": "block"} if { true }',
        "other := 1",
    ],
)
def test_an_answer_that_is_no_refusal_denies(tmp_path: Path, body: str) -> None:
    (tmp_path / "x.rego").write_text(f"package lighthouse\nimport rego.v1\n{body}\n")
    verdict = decide(loaded(rego=tmp_path), "Bash", {"command": "ls"})
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, "rego.failed")
    assert shows_a_way(verdict.reason.replace(", or take", " or take"))


class Answering(BaseHTTPRequestHandler):
    """Answers with the server's `reply`: a status, a body and seconds to wait."""

    def do_POST(self) -> None:
        status, body, seconds = self.server.reply  # type: ignore[attr-defined]  # set by the fixture
        time.sleep(seconds)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named so by the base class
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """An HTTP server whose `reply` the test sets."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "seconds"),
    [
        (500, b"{}", 0),
        (200, b"{}", 0),
        (200, b"not json", 0),
        (200, b'{"result": true}', 0),
        (302, b'{"result": []}', 0),
        (200, b'{"result": []}', 1.5),
    ],
)
def test_a_server_that_does_not_answer_rightly_or_in_time_denies(
    server: ThreadingHTTPServer, status: int, body: bytes, seconds: float
) -> None:
    server.reply = (status, body, seconds)  # type: ignore[attr-defined]  # for Answering
    address = f"127.0.0.1:{server.server_address[1]}"
    decider = loaded(rego_server=Remote(url=f"http://{address}{DOCUMENT}"))
    started = time.monotonic()
    verdict = decide(decider, "Bash", {"command": "ls"})
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, "rego.failed")
    assert time.monotonic() - started < 3
    server.reply = (200, b'{"result": []}', 0)  # type: ignore[attr-defined]  # for Answering
    assert decide(decider, "Bash", {"command": "ls"}).decision is Decision.APPROVE, (
        "a refusal is not remembered"
    )


def test_a_server_that_is_away_is_left_alone_after_five_failures_and_all_is_denied() -> None:
    decider = loaded(rego_server=Remote(url=f"http://127.0.0.1:{free_port()}{DOCUMENT}"))
    verdicts = [decide(decider, "Bash", {"command": f"ls {n}"}) for n in range(6)]
    assert {verdict.rule for verdict in verdicts} == {"rego.failed"}
    assert "rest for a while" in verdicts[-1].reason
    assert decide(decider, "Bash", {"command": "rm -rf /"}).rule == "danger.remove-everything"


@contextmanager
def serving(*arguments: str, scheme: str = "http") -> Iterator[str]:
    """The address of the document in a real OPA server."""
    folder = subprocess.check_output([sys.executable, "-m", "ci", "opa"], cwd=REPOSITORY, text=True).strip()
    port = free_port()
    flags = ["--addr", f"127.0.0.1:{port}", "--log-level", "error", *arguments]
    with subprocess.Popen([f"{folder}/opa", "run", "--server", *flags]) as process:
        try:
            for _ in range(200):
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield f"{scheme}://127.0.0.1:{port}{DOCUMENT}"
        finally:
            process.terminate()


@pytest.mark.heavy
def test_both_engines_agree_on_every_call() -> None:
    calls = [(tool, tool_input) for tool, tool_input, _ in EXAMPLES]
    calls += [(call.tool, call.tool_input) for call in load_calls()]
    with serving(str(POLICIES)) as url:
        here, there = InProcess(POLICIES), Server(Remote(url=url))
        answers = [(ask(here, *call), ask(there, *call), call) for call in calls]
    assert not [found for found in answers if found[0] != found[1]]
    assert {rule for found, _, _ in answers for rule, _ in found} == {
        rule for _, _, rules in EXAMPLES for rule in rules
    }
    assert json.dumps(
        JUDGE.describe("Bash", {"command": "ls | wc"}, JUDGE.decide("Bash", {"command": "ls | wc"}))
    )


ADMITTING = """package system.authz
import rego.v1
default allow := false
allow if input.identity == "a-token-of-the-bridge"
"""


class Guarded(NamedTuple):
    """An OPA server with TLS that admits one token, and the folder with what proves both sides."""

    server: Remote
    folder: Path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The shipped policies in a real OPA server over TLS that admits one bearer token."""
    folder = tmp_path_factory.mktemp("opa")
    authority = certificate("authority of the policy server", None)
    (folder / "ca.crt").write_bytes(authority[0].public_bytes(serialization.Encoding.PEM))
    stranger = certificate("another authority", None)[0]
    (folder / "other.crt").write_bytes(stranger.public_bytes(serialization.Encoding.PEM))
    served, key = certificate("127.0.0.1", authority)
    (folder / "tls.crt").write_bytes(served.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / "authz.rego").write_text(ADMITTING)
    (folder / "token").write_text("a-token-of-the-bridge\n")
    flags = ["--authentication=token", "--authorization=basic"]
    flags += [f"--tls-cert-file={folder}/tls.crt", f"--tls-private-key-file={folder}/tls.key"]
    with serving(*flags, str(POLICIES), str(folder / "authz.rego"), scheme="https") as url:
        server = Remote(url=url, token_file=folder / "token", ca_file=folder / "ca.crt")
        yield Guarded(server, folder)


@pytest.mark.heavy
def test_a_server_is_asked_with_the_token_over_a_verified_connection(guarded: Guarded) -> None:
    decider = loaded(rego_server=guarded.server)
    assert decide(decider, "Bash", {"command": "terraform destroy"}).rule == "infrastructure.destroy"
    assert decide(decider, "Bash", {"command": "ls"}).decision is Decision.APPROVE


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"token_file": None}, "answered 401; give the bridge a token"),
        ({"token_file": "absent"}, "absent cannot be read"),
        ({"token_file": "authz.rego"}, "authz.rego holds no bearer token"),
        ({"ca_file": "other.crt"}, "certificate verify failed"),
        ({"ca_file": None}, "certificate verify failed"),
        ({"ca_file": "absent"}, "No such file"),
    ],
)
def test_a_server_that_does_not_know_the_bridge_or_is_not_known_denies_and_says_why(
    guarded: Guarded, change: dict[str, str | None], reason: str
) -> None:
    files: dict[str, Any] = {
        name: guarded.folder / value if value else None for name, value in change.items()
    }
    server = replace(guarded.server, **files)
    verdict = decide(loaded(rego_server=server), "Bash", {"command": "ls"})
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, "rego.failed")
    with pytest.raises(EngineError, match=reason):
        asyncio.run(Server(server).ask({}))


@pytest.mark.heavy
def test_a_token_and_an_authority_that_are_changed_are_used_without_restart(
    guarded: Guarded, tmp_path: Path
) -> None:
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("an-older-one")
    authority.write_bytes((guarded.folder / "other.crt").read_bytes())
    engine = Server(replace(guarded.server, token_file=token, ca_file=authority))
    with pytest.raises(EngineError, match="verify failed"):
        asyncio.run(engine.ask({}))
    authority.write_bytes((guarded.folder / "ca.crt").read_bytes())
    with pytest.raises(EngineError, match="answered 401"):
        asyncio.run(engine.ask({}))
    token.write_bytes((guarded.folder / "token").read_bytes())
    assert asyncio.run(engine.ask({})) == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"URL": "opa:8181"}, "name a document of an OPA server"),
        ({"URL": "https://user:secret@opa/v1/data/x"}, "holds a user or password"),
        ({"URL": "http://opa/v1/data/x", "TOKEN_FILE": "/token"}, "write https://"),
        ({"URL": "http://opa/v1/data/x", "CA_FILE": "/ca"}, "write https://"),
        ({"URL": "https://opa/v1/data/x", "TOKEN_FILE": "token"}, "must be an absolute path"),
        ({"URL": "https://opa/v1/data/x", "DIR": "/rego"}, "keep one"),
        ({"TOKEN_FILE": "/token"}, "without a server"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, str], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as refused:
        read_settings({f"LIGHTHOUSE_REGO_{name}": value for name, value in settings.items()})
    assert "secret" not in str(refused.value)


def test_an_engine_that_is_asked_by_many_answers_each(tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text(
        "package lighthouse\nimport rego.v1\n"
        'decisions contains {"decision": "block", "rule": r, "reason": "No; wait."} if { r := input.rule }\n'
    )
    engine = InProcess(tmp_path)

    async def many() -> list[str]:
        asked = [engine.ask({"rule": f"rule.n{n}"}) for n in range(50)]
        return [found[0].rule for found in await asyncio.gather(*asked)]

    assert asyncio.run(many()) == [f"rule.n{n}" for n in range(50)]


def test_an_error_says_what_failed(tmp_path: Path) -> None:
    (tmp_path / "x.rego").write_text("package other\nx := 1\n")
    engine = InProcess(tmp_path)
    with pytest.raises(EngineError, match=r"data\.lighthouse\.decisions"):
        asyncio.run(engine.ask({}))
