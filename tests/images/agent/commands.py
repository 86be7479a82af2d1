"""Runs the command `lighthouse` as people and programs do."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.images.agent.support import KEYS, Bridge

LIGHTHOUSE = [sys.executable, "-m", "lighthouse_agent.cli"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def lighthouse(env: Mapping[str, str], *arguments: str, stdin: str = "") -> Done:
    """Run the command; no join key may be printed."""
    done = subprocess.run(
        [*LIGHTHOUSE, *arguments],
        input=stdin.encode(),
        env=dict(env),
        capture_output=True,
        timeout=30,
        check=False,
    )
    for key in KEYS.values():
        assert key.encode() not in done.stdout + done.stderr
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def assert_failed(done: Done, *parts: str, code: int = 1) -> None:
    """It ended with one sentence on stderr that says all of `parts`."""
    assert done.code == code, done
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith((".\n", "'\n")), done.err
    for part in parts:
        assert part in done.err


def reaching(env: dict[str, str], bridge: Bridge, role: str, agent: str) -> dict[str, str]:
    """An environment that reaches the bridge in a role."""
    return {
        **env,
        "LIGHTHOUSE_BRIDGE_URL": bridge.url,
        "LIGHTHOUSE_KEY_FILE": str(bridge.key_file(role)),
        "LIGHTHOUSE_AGENT_ID": agent,
    }


def answer(done: Done) -> Any:
    """The JSON that a command printed."""
    assert done.code in {0, 2}, done
    return json.loads(done.out)
