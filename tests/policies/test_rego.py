"""Policies in Rego: the same answers in process and from an OPA server, only ever stricter, and denied on failure."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import urllib3

from lighthouse_bridge.decider import Decider
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import RulesError, load_rules
from lighthouse_bridge.decisions.verdict import Decision, Verdict
from lighthouse_bridge.rego import Engine, EngineError, InProcess, Server
from lighthouse_bridge.rulebook import Sources
from tests.images.bridge.labelled import load_calls
from tests.images.bridge.support import REPOSITORY, RULES, free_port
from tests.images.bridge.test_corpus import shows_a_way

POLICIES = REPOSITORY / "policies" / "rego"
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
    decider = loaded(rego_url=f"http://127.0.0.1:{server.server_address[1]}/v1/data/lighthouse/decisions")
    started = time.monotonic()
    verdict = decide(decider, "Bash", {"command": "ls"})
    assert (verdict.decision, verdict.rule) == (Decision.BLOCK, "rego.failed")
    assert time.monotonic() - started < 3
    server.reply = (200, b'{"result": []}', 0)  # type: ignore[attr-defined]  # for Answering
    assert decide(decider, "Bash", {"command": "ls"}).decision is Decision.APPROVE, (
        "a refusal is not remembered"
    )


def test_a_server_that_is_away_is_left_alone_after_five_failures_and_all_is_denied() -> None:
    decider = loaded(rego_url=f"http://127.0.0.1:{free_port()}/v1/data/lighthouse/decisions")
    verdicts = [decide(decider, "Bash", {"command": f"ls {n}"}) for n in range(6)]
    assert {verdict.rule for verdict in verdicts} == {"rego.failed"}
    assert "rest for a while" in verdicts[-1].reason
    assert decide(decider, "Bash", {"command": "rm -rf /"}).rule == "danger.remove-everything"


@pytest.fixture(scope="module")
def opa() -> Iterator[str]:
    """The address of the shipped policies in a real OPA server."""
    folder = subprocess.check_output([sys.executable, "-m", "ci", "opa"], cwd=REPOSITORY, text=True).strip()
    port = free_port()
    arguments = ["run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error", str(POLICIES)]
    with subprocess.Popen([f"{folder}/opa", *arguments]) as process:
        try:
            for _ in range(200):
                try:
                    urllib3.request("GET", f"http://127.0.0.1:{port}/health", retries=False)
                    break
                except urllib3.exceptions.HTTPError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/v1/data/lighthouse/decisions"
        finally:
            process.terminate()


@pytest.mark.heavy
def test_both_engines_agree_on_every_call(opa: str) -> None:
    here, there = InProcess(POLICIES), Server(opa)
    calls = [(tool, tool_input) for tool, tool_input, _ in EXAMPLES]
    calls += [(call.tool, call.tool_input) for call in load_calls()]
    answers = [(ask(here, *call), ask(there, *call), call) for call in calls]
    assert not [found for found in answers if found[0] != found[1]]
    assert {rule for found, _, _ in answers for rule, _ in found} == {
        rule for _, _, rules in EXAMPLES for rule in rules
    }
    assert json.dumps(
        JUDGE.describe("Bash", {"command": "ls | wc"}, JUDGE.decide("Bash", {"command": "ls | wc"}))
    )


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
