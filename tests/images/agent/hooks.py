"""Runs the hook as its callers do: a process with a call on stdin."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tests.images.agent.support import KEYS, TOKEN, answer

CALL = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "agent_id": "agent-1"}
HOOK = [sys.executable, "-m", "lighthouse_agent", "hook"]


def verdict(decision: str = "approved", **changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "approved": decision == "approved",
        "reasoning": "It only lists files.",
        "confidence": 0.95,
        "processing_time_ms": 0.1,
        "metadata": {
            "decision": decision,
            "risk_level": "low",
            "cache_hit": False,
            "expert_required": decision == "escalate",
            "rule": "list",
            "rules_version": "1",
            "validation_id": "v-17",
        },
    }
    return {**body, **changes}


APPROVED = answer(200, verdict())


def hook(env: Mapping[str, str], call: Any = CALL, *, url: str | None = None) -> tuple[int, str]:
    """Exit code and stderr of the hook; stdout must stay empty."""
    full = {**env, "LIGHTHOUSE_BRIDGE_URL": url} if url else dict(env)
    raw = call if isinstance(call, bytes) else json.dumps(call).encode()
    done = subprocess.run(HOOK, input=raw, env=full, capture_output=True, timeout=10, check=False)
    assert done.stdout == b""
    for secret in (*KEYS.values(), TOKEN):
        assert secret.encode() not in done.stderr
    return done.returncode, done.stderr.decode()


def assert_blocked(outcome: tuple[int, str], *parts: str) -> None:
    """It blocked with one line that says all of `parts`."""
    code, sentence = outcome
    assert code == 2, sentence
    assert sentence.startswith("Lighthouse ")
    assert sentence.endswith(".\n")
    assert sentence.count("\n") == 1
    for part in parts:
        assert part in sentence
