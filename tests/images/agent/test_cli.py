"""The command `lighthouse` against a real bridge: tables for people, JSON for programs, exit codes, errors."""

from pathlib import Path

import pytest

from tests.images.agent.commands import answer, assert_failed, lighthouse
from tests.images.agent.support import Bridge, post
from tests.ports import free_port

pytestmark = pytest.mark.heavy  # starts dozens of processes


def waiting(developer: dict[str, str], command: str) -> str:
    """Ask for something that nobody decides; the validation's id."""
    done = lighthouse(developer, "validate", "--wait", "0", "--json", command)
    assert done.code == 2
    return str(answer(done)["metadata"]["validation_id"])


def test_status_says_whether_the_bridge_works(env: dict[str, str], shared_bridge: Bridge) -> None:
    open_to_all = {**env, "LIGHTHOUSE_BRIDGE_URL": shared_bridge.url, "LIGHTHOUSE_KEY_FILE": "/nonexistent"}
    done = lighthouse(open_to_all, "status")
    assert done.code == 0
    assert "operational, normal" in done.out
    assert answer(lighthouse(open_to_all, "status", "--json"))["status"] == "operational"


@pytest.mark.parametrize(
    ("call", "code", "decision"),
    [
        (["ls -la"], 0, "approved"),
        (["rm -rf /"], 2, "blocked"),
        (["--wait", "0", "./unknown-program"], 2, "escalate"),
        (["--edit", "src/main.py"], 0, "approved"),
        (["--edit", "/etc/passwd"], 2, "blocked"),
        (["--tool", "Read", "--input", '{"file_path": "src/main.py"}'], 0, "approved"),
    ],
    ids=["harmless", "dangerous", "unknown", "edit", "system edit", "tool"],
)
def test_validate_ends_as_the_hook_does(
    developer: dict[str, str], call: list[str], code: int, decision: str
) -> None:
    done = lighthouse(developer, "validate", *call)
    assert (done.code, done.out.partition(":")[0]) == (code, decision), done
    assert answer(lighthouse(developer, "validate", "--json", *call))["metadata"]["decision"] == decision


def test_what_is_written_comes_from_a_file_or_stdin(developer: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "new.py").write_text("print('hello')\n")
    assert (
        lighthouse(developer, "validate", "--edit", "a.py", "--content", str(tmp_path / "new.py")).code == 0
    )
    assert lighthouse(developer, "validate", "--edit", "a.py", "--content", "-", stdin="x = 1\n").code == 0
    assert_failed(
        lighthouse(developer, "validate", "--edit", "a.py", "--content", "/nonexistent"), "/nonexistent"
    )


def test_sessions_are_listed_and_ended(person: dict[str, str], shared_bridge: Bridge) -> None:
    token = shared_bridge.session("builder", "to-be-ended")
    found = [
        session
        for session in answer(lighthouse(person, "sessions", "list", "--json"))["sessions"]
        if session["agent_id"] == "to-be-ended"
    ]
    assert [session["role"] for session in found] == ["builder"]
    assert token.split(":")[0] == found[0]["session_id"]
    assert found[0]["session_id"] in lighthouse(person, "sessions", "list").out
    assert lighthouse(person, "sessions", "end", found[0]["session_id"]).code == 0
    assert found[0]["session_id"] not in lighthouse(person, "sessions", "list").out
    assert_failed(lighthouse(person, "sessions", "end", found[0]["session_id"]), "404")


def test_what_only_operators_may_do_is_refused_to_others(developer: dict[str, str]) -> None:
    for command in (
        ["sessions", "list"],
        ["sessions", "end", "0" * 32],
        ["approvals", "list"],
        ["approvals", "approve", "x", "--reason", "x"],
        ["approvals", "revoke", "x", "--reason", "x"],
    ):
        assert_failed(lighthouse(developer, *command), "403", "operator")


def test_a_person_decides_and_takes_it_back(person: dict[str, str], developer: dict[str, str]) -> None:
    command = "./tools/cli-approvals.sh"
    waits = waiting(developer, command)
    assert command in lighthouse(person, "approvals", "list").out
    done = lighthouse(person, "approvals", "approve", waits, "--reason", "I read it", "--remember", "agent")
    assert done.code == 0
    assert "approved by olga" in done.out
    assert lighthouse(developer, "validate", command).code == 0
    (standing,) = [
        approval
        for approval in answer(lighthouse(person, "approvals", "list", "--json"))["approvals"]
        if approval["validation_id"] == waits
    ]
    assert (standing["agent_id"], standing["tool_input"], standing["decided_by"]) == (
        "ben",
        {"command": command},
        "olga",
    )
    assert (
        lighthouse(person, "approvals", "revoke", standing["approval_id"], "--reason", "too wide").code == 0
    )
    assert lighthouse(developer, "validate", "--wait", "0", command).code == 2
    assert_failed(
        lighthouse(person, "approvals", "revoke", standing["approval_id"], "--reason", "again"), "404"
    )


def test_a_person_refuses_and_the_agent_is_told_why(
    person: dict[str, str], developer: dict[str, str]
) -> None:
    waits = waiting(developer, "./tools/cli-denied.sh")
    done = lighthouse(person, "approvals", "deny", waits, "--reason", "Use make instead", "--json")
    assert answer(done)["status"] == "blocked"
    done = lighthouse(developer, "validate", "./tools/cli-denied.sh")
    assert done.code == 2
    assert "Use make instead" in done.out


def test_experts_are_listed(person: dict[str, str], shared_bridge: Bridge) -> None:
    token = shared_bridge.session("expert", "cli-expert")
    body = {"agent_id": "cli-expert", "agent_type": "security", "capabilities": ["code_review"]}
    post(shared_bridge.url + "/expert/register", body, token)
    assert "cli-expert" in lighthouse(person, "experts").out
    found = answer(lighthouse(person, "experts", "--json"))["experts"]
    assert [e["status"] for e in found if e["agent_id"] == "cli-expert"] == ["available"]


def test_commands_in_a_row_share_one_session(person: dict[str, str], shared_bridge: Bridge) -> None:
    own = {**person, "LIGHTHOUSE_AGENT_ID": "thrifty"}
    for _ in range(4):
        assert lighthouse(own, "experts").code == 0
    query = "/event/query?agent_id=thrifty&event_type=agent_session_started"
    assert shared_bridge.ask(query)["count"] == 1


def test_foreign_text_cannot_paint_the_terminal(person: dict[str, str], developer: dict[str, str]) -> None:
    waiting(developer, "./x '\x1b[2J\x1b[31m[bold]gotcha[/bold]'")
    out = lighthouse({**person, "COLUMNS": "300"}, "approvals", "list").out
    assert "[bold]gotcha[/bold]" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nonsense"], ["nonsense", "lighthouse --help"]),
        (["validate"], ["quoted COMMAND"]),
        (["validate", "ls", "--tool", "Bash"], ["one tool call"]),
        (["validate", "ls", "--content", "x"], ["--edit"]),
        (["validate", "--tool", "Read", "--input", "["], ["--input"]),
        (["validate", "--wait", "31", "ls"], ["31"]),
        (["approvals", "deny", "x"], ["--reason"]),
        (["status"], ["LIGHTHOUSE_BRIDGE_URL"]),
        (["--bridge-url", "ftp://x", "status"], ["ftp://x"]),
        (["--agent-id", "?", "--bridge-url", "http://127.0.0.1:9", "experts"], ["--agent-id"]),
    ],
)
def test_errors_are_one_sentence_and_exit_code_1(
    env: dict[str, str], arguments: list[str], parts: list[str]
) -> None:
    assert_failed(lighthouse(env, *arguments), *parts)


def test_a_bridge_that_is_away_and_a_missing_key_are_named(
    env: dict[str, str], person: dict[str, str]
) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert_failed(lighthouse({**env, "LIGHTHOUSE_BRIDGE_URL": away}, "status"), away, "refused")
    missing = {**person, "LIGHTHOUSE_KEY_FILE": "/nonexistent", "LIGHTHOUSE_AGENT_ID": "keyless"}
    assert_failed(lighthouse(missing, "experts"), "/nonexistent", "LIGHTHOUSE_KEY_FILE")


def test_every_command_shows_its_help(env: dict[str, str]) -> None:
    listed = lighthouse(env, "--help")
    assert listed.code == 0
    for command in ("approvals", "experts", "explain", "rules", "sessions", "status", "validate"):
        assert command in listed.out
        assert lighthouse(env, command, "--help").code == 0
