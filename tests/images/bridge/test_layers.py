"""Rules in layers: the strictest of all decides, a project can only be stricter, and a decision names its layer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.layers import join_layers, read_project
from lighthouse_bridge.decisions.rules import RulesError, load_layer, load_rules, read_layer
from tests.images.bridge.experts import ask
from tests.images.bridge.labelled import load_calls
from tests.images.bridge.support import RULES, Agent, Bridge

SHIPPED = load_layer("shipped", RULES)
CALLS = load_calls()
STRICTER = b"""
schema: 1
rules:
  - id: project.no-tests
    programs: [pytest]
    decision: review
    risk: medium
    reason: The tests of this project need a licence; ask the operator.
paths:
  protected: [generated]
"""
LOOSER = {
    "approves": b"rules: [{id: p.x, programs: [terraform], decision: approve, reason: It is safe here.}]",
    "calls the risk": b"rules: [{id: p.x, programs: [ls], decision: review, reason: It lists; ask.}]",
    "has 'wrappers'": b"wrappers: [{id: p.x, programs: [run], kind: command}]",
    "has 'tools'": b"tools: [{id: p.x, tools: [Deploy], access: none, reason: It is safe here.}]",
    "has 'programs'": b"programs: [{name: git, allow: [-c]}]",
    "has 'judges'": b"judges: [{tools: [Bash], capabilities: [documentation]}]",
    "has 'trusted_folders'": b"trusted_folders: [bin]",
    "paths that are 'readable'": b"paths: {readable: ['/etc/*']}",
    "paths that are 'project_roots'": b"paths: {project_roots: [/]}",
    "paths that are 'public'": b"paths: {public: [.env]}",
    "variables that may be set": b"variables: {settable: [LD_PRELOAD]}",
    "repeats too much": b"""rules: [{id: p.x, programs: [ls], decision: block, risk: high, reason: It lists; ask.,
        when: {operand: 'a*b*c*d'}}]""",
    "is used twice": b"""rules: [{id: files.list, programs: [ls], decision: block, risk: high,
        reason: It lists; ask.}]""",
}


@pytest.mark.parametrize("problem", LOOSER)
def test_a_project_cannot_loosen_anything(problem: str) -> None:
    content = b"schema: 1\n" + LOOSER[problem]
    with pytest.raises(RulesError, match=problem):
        join_layers(SHIPPED, None, read_project({".lighthouse/rules/x.yaml": content}))


PROGRAMS = sorted(
    {call.command.split(" ")[0] for call in CALLS if call.tool == "Bash"} & {*load_rules(RULES).rules}
)


@pytest.mark.heavy
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(PROGRAMS), min_size=1, max_size=4, unique=True),
    st.sampled_from(["review", "block"]),
    st.sampled_from(["medium", "high", "critical"]),
)
def test_whatever_a_project_adds_no_call_gets_easier(programs: list[str], decision: str, risk: str) -> None:
    content = f"""
schema: 1
rules: [{{id: p.x, programs: [{", ".join(f'"{name}"' for name in programs)}], decision: {decision}, risk: {risk}, reason: No; ask.}}]
paths: {{secret: [app.py], protected: [src], critical: [readme.md], system: [/usr]}}
variables: {{secret: [HOME]}}
"""
    plain = Judge(load_rules(RULES), ())
    strict = Judge(join_layers(SHIPPED, None, read_project({"x.yaml": content.encode()})), ())
    for call in CALLS:
        before, after = (judge.decide(call.tool, call.tool_input) for judge in (plain, strict))
        assert after.decision >= before.decision, call
        assert after.risk >= before.risk, call


def test_a_decision_names_the_layer_of_the_rule_or_of_the_place() -> None:
    organisation = read_layer(
        "organisation",
        {
            "org.yaml": b"schema: 1\n"
            b"rules: [{id: org.deploy, programs: [deploy], decision: approve, reason: Ours is safe.}]\n"
            b"paths: {protected: [contracts]}\n"
        },
    )
    judge = Judge(join_layers(SHIPPED, organisation, read_project({"x.yaml": STRICTER})), ())
    calls: list[tuple[str, dict[str, Any], str, str]] = [
        ("Bash", {"command": "ls"}, "approved", "shipped"),
        ("Bash", {"command": "deploy"}, "approved", "organisation"),
        ("Bash", {"command": "pytest -q"}, "escalate", "project"),
        ("Bash", {"command": "deploy && pytest"}, "escalate", "project"),
        ("Bash", {"command": "frobnicate"}, "escalate", "built-in"),
        ("Write", {"file_path": "contracts/a.md", "content": "x"}, "blocked", "organisation"),
        ("Write", {"file_path": "generated/a.py", "content": "x"}, "blocked", "project"),
        ("Write", {"file_path": ".git/config", "content": "x"}, "blocked", "shipped"),
    ]
    for tool, tool_input, decision, layer in calls:
        verdict = judge.decide(tool, tool_input)
        assert (verdict.decision.label, verdict.layer) == (decision, layer), verdict


def test_an_organisation_cannot_approve_what_a_shipped_rule_refuses() -> None:
    organisation = read_layer(
        "organisation",
        {
            "o.yaml": b"schema: 1\nrules: [{id: o.rm, programs: [rm], decision: approve, reason: We like it.}]\n"
        },
    )
    judge = Judge(join_layers(SHIPPED, organisation, None), ())
    assert judge.decide("Bash", {"command": "rm -rf /"}).decision.label == "blocked"


def put_rules(operator: Agent, content: bytes, name: str = "strict.yaml") -> None:
    assert operator.update(f".lighthouse/rules/{name}", content.decode()).status_code == 200


def decided(agent: Agent, command: str, decision: str) -> Callable[[], bool]:
    return lambda: bool(ask(agent, command, wait_seconds=0)["metadata"]["decision"] == decision)


@pytest.mark.heavy
def test_a_projects_rules_hold_as_soon_as_its_tree_has_them(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_RULES_RELOAD_SECONDS="60")
    builder, operator = own.join("builder"), own.join("operator")
    assert ask(builder, "pytest -q")["approved"] is True
    put_rules(operator, STRICTER)
    own.wait_for(decided(builder, "pytest -q", "escalate"), 5)
    answer = ask(builder, "pytest -q", wait_seconds=0)
    assert answer["metadata"]["layer"] == "project"
    assert answer["metadata"]["rule"] == "project.no-tests"
    event = [
        found["data"]
        for found in operator.get("/event/query", params={"limit": 1000}).json()["events"]
        if found["event_type"] == "validation_decision_made" and found["data"]["rule"] == "project.no-tests"
    ]
    assert event[0]["layer"] == "project"
    own.stop()
    own.start()
    assert ask(own.join("builder"), "pytest -q", wait_seconds=0)["metadata"]["layer"] == "project"


def test_only_an_operator_changes_a_projects_rules(bridge: Bridge, builder: Agent) -> None:
    refused = builder.update(".lighthouse/rules/mine.yaml", "schema: 1\n")
    assert refused.status_code == 403
    assert "operator" in refused.json()["detail"]
    assert bridge.join("operator").update(".lighthouse/notes.md", "x").status_code == 200
    assert builder.update(".lighthouse/notes.md", None, "delete").status_code == 403


@pytest.mark.heavy
def test_broken_rules_of_a_project_leave_those_before_in_force(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder, operator = own.join("builder"), own.join("operator")
    put_rules(operator, STRICTER)
    own.wait_for(decided(builder, "pytest -q", "escalate"))
    put_rules(operator, b"schema: 1\nrules: what\n")
    own.wait_for(lambda: own.http.get("/status").json()["mode"] == "degraded")
    assert ask(builder, "pytest -q", wait_seconds=0)["metadata"]["layer"] == "project"
    assert ask(builder, "ls")["approved"] is True
    own.stop()
    own.start()
    answer = ask(own.join("builder"), "ls", wait_seconds=0)
    assert answer["approved"] is False, "of a project whose rules nobody could read nothing is approved"
    assert answer["metadata"]["rule"] == "project.unusable"
    assert "strict.yaml" in answer["reasoning"]


def test_the_organisations_folder_is_read_and_read_again(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    folder = tmp_path / "organisation"
    folder.mkdir()
    own = start_bridge(LIGHTHOUSE_ORGANISATION_RULES_DIR=str(folder))
    builder = own.join("builder")
    assert ask(builder, "terraform plan", wait_seconds=0)["approved"] is False
    (folder / "ours.yaml").write_text(
        "schema: 1\nrules:\n  - id: ours.plan\n    programs: [terraform]\n    subcommands: [plan]\n"
        "    decision: approve\n    reason: Our state is public.\n"
    )
    own.wait_for(decided(builder, "terraform plan", "approved"))
    assert ask(builder, "terraform plan")["metadata"]["layer"] == "organisation"


def test_a_link_is_judged_by_what_it_leads_to(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder, operator = own.join("builder"), own.join("operator")
    links = {"notes": ".env", "deep/conf": "../settings", "build.mk": "Makefile", "agentdir": ".claude"}
    assert ask(builder, "cat notes")["approved"] is True
    for path, target in links.items():
        assert operator.update(path, target, kind="symlink").status_code == 200
    own.wait_for(decided(builder, "echo x > agentdir/settings.json", "blocked"))
    blocked = ask(builder, "cat notes")
    assert blocked["metadata"]["rule"] == "path.secret"
    assert "through a link" in blocked["reasoning"]
    for command, decision in {
        "cat sub/../notes": "blocked",
        "cat /workspace/notes": "blocked",
        "cd sub; cat ../notes": "blocked",
        "cat not*": "blocked",
        "echo x > build.mk": "escalate",
        "echo x > agentdir/settings.json": "blocked",
        "echo x > deep/conf/a.txt": "approved",
        "cat deep/conf/.env": "blocked",
        "cat README.md": "approved",
    }.items():
        assert ask(builder, command, wait_seconds=0)["metadata"]["decision"] == decision, command
    assert operator.update("notes", None, "delete").status_code == 200
    own.wait_for(decided(builder, "cat notes", "approved"))


def test_judging_by_layers_costs_no_noticeable_time() -> None:
    plain = Judge(load_rules(RULES), ())
    layered = Judge(
        join_layers(SHIPPED, None, read_project({"x.yaml": STRICTER})), (), {"a": "b", "c/d": "../e"}
    )
    seconds = []
    for judge in (plain, layered, plain, layered):
        started = time.process_time()
        for call in CALLS:
            judge.decide(call.tool, call.tool_input)
        seconds.append(time.process_time() - started)
    assert min(seconds[1], seconds[3]) < 2 * min(seconds[0], seconds[2])
