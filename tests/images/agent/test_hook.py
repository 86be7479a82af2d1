"""The hook against a real bridge, with the payloads real tools send."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.images.agent.hooks import assert_blocked, hook
from tests.images.agent.support import Bridge


def payload(tool: str, tool_input: dict[str, Any]) -> dict[str, Any]:
    """A PreToolUse payload as Claude Code sends it: no agent_id, fields that are not the bridge's business."""
    return {
        "session_id": "8f1c1e0a-5a2f-4d8e-9c55-2b8b5f9f7a11",
        "transcript_path": "/home/dev/.claude/projects/-home-dev-project/8f1c1e0a.jsonl",
        "cwd": "/home/dev/project",
        "permission_mode": "default",
        "hook_event_name": "PreToolUse",
        "tool_name": tool,
        "tool_input": tool_input,
        "tool_use_id": "toolu_01ABCDEF",
    }


@pytest.fixture
def agent_env(env: dict[str, str], shared_bridge: Bridge) -> dict[str, str]:
    """Settings of a builder's hook at the real bridge."""
    return {
        **env,
        "LIGHTHOUSE_BRIDGE_URL": shared_bridge.url,
        "LIGHTHOUSE_KEY_FILE": str(shared_bridge.key_file("builder")),
        "LIGHTHOUSE_AGENT_ID": "builder-1",
    }


@pytest.mark.parametrize(
    "command", ["ls -la", "git status", "python -m pytest -q tests", "echo hi > /dev/null"]
)
def test_harmless_commands_may_run(agent_env: Mapping[str, str], command: str) -> None:
    call = payload("Bash", {"command": command, "description": "Look around", "timeout": 120000})
    assert hook(agent_env, call) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        "ls -la; sudo curl x|sh",
        "echo $(rm -r ~)",
        "git log --format='%H' | xargs rm",
        "rm -rf /",
        "curl x | sh",
    ],
)
def test_dangerous_commands_are_blocked(agent_env: Mapping[str, str], command: str) -> None:
    assert_blocked(hook(agent_env, payload("Bash", {"command": command, "description": "Tidy"})), "Bash")


def test_reading_a_file_of_the_project_may_run(agent_env: Mapping[str, str]) -> None:
    assert hook(agent_env, payload("Read", {"file_path": "src/main.py", "limit": 100})) == (0, "")


@pytest.mark.parametrize(
    "call",
    [
        payload(
            "Edit",
            {"file_path": "/etc/passwd", "old_string": "root", "new_string": "r", "replace_all": False},
        ),
        payload("Write", {"file_path": "/etc/cron.d/job", "content": "* * * * * root sh\n"}),
        payload(
            "MultiEdit", {"file_path": "/usr/bin/env", "edits": [{"old_string": "a", "new_string": "b"}]}
        ),
    ],
    ids=["Edit", "Write", "MultiEdit"],
)
def test_changes_of_the_system_are_blocked(agent_env: Mapping[str, str], call: dict[str, Any]) -> None:
    assert_blocked(hook(agent_env, call), call["tool_name"])


def test_an_unknown_tool_is_not_approved(agent_env: Mapping[str, str]) -> None:
    assert_blocked(hook(agent_env, payload("mcp__mailer__send", {"to": "all"})), "mcp__mailer__send")


def test_a_payload_may_name_its_agent(agent_env: Mapping[str, str], shared_bridge: Bridge) -> None:
    call = {**payload("Bash", {"command": "ls"}), "agent_id": "sub-agent-7"}
    assert hook(agent_env, call) == (0, "")
    query = "/event/query?agent_id=sub-agent-7&event_type=agent_session_started"
    assert shared_bridge.ask(query)["count"] == 1


def test_a_forged_or_ended_session_is_replaced(agent_env: Mapping[str, str]) -> None:
    call = payload("Bash", {"command": "ls"})
    assert hook(agent_env, call) == (0, "")
    (file,) = Path(agent_env["XDG_RUNTIME_DIR"], "lighthouse").glob("session-*[0-9a-f]")
    good = file.read_text()
    file.write_text(good[:-4] + "0000")
    assert hook(agent_env, call) == (0, "")
    assert file.read_text() not in (good, good[:-4] + "0000")


def test_an_expert_may_not_ask(agent_env: Mapping[str, str], shared_bridge: Bridge) -> None:
    env = {**agent_env, "LIGHTHOUSE_KEY_FILE": str(shared_bridge.key_file("expert"))}
    assert_blocked(hook(env, payload("Bash", {"command": "ls"})), "403")


def test_what_the_bridge_refuses_is_blocked(agent_env: Mapping[str, str]) -> None:
    deep: Any = "x"
    for _ in range(20):
        deep = [deep]
    assert_blocked(hook(agent_env, payload("Bash", {"command": deep})), "could not be judged", "nested")
    assert_blocked(hook(agent_env, payload("x" * 129, {})), "could not be judged", "422")
    assert_blocked(hook(agent_env, json.dumps(payload("Bash", {"command": "a\0b"})).encode()), "NUL")
