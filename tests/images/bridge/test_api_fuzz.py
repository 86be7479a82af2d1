"""schemathesis against the running bridge, in each role: no 5xx, no answer that is not documented.

A bounded run belongs to the tests; `API_FUZZ_SECONDS=1800` before pytest makes it as long as one likes.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.bridge.support import KEYS, REPOSITORY, ROLES, Bridge

pytestmark = pytest.mark.heavy  # seconds of random requests for each role

SECONDS = int(os.environ.get("API_FUZZ_SECONDS", "75"))
USER_AGENT = "api-fuzz"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
# What never ends by itself, and what would end the session that the requests use.
EXCLUDED = ("/events/stream", "/session/end")


@pytest.mark.parametrize("role", ROLES)
def test_no_request_breaks_the_bridge_or_its_description(
    start_bridge: Callable[..., Bridge], tmp_path: Path, role: str
) -> None:
    own = start_bridge()
    headers = {"Authorization": f"Bearer {KEYS[role]}", "User-Agent": USER_AGENT}
    joined = own.http.post("/session/create", json={"agent_id": f"fuzz-{role}"}, headers=headers).json()
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(REPOSITORY), str(REPOSITORY / "images" / "bridge"))),
        "SCHEMATHESIS_HOOKS": "tests.images.bridge.fuzz_hooks",
        "FUZZ_TOKEN": joined["session_token"],
        "FUZZ_AGENT": joined["agent_id"],
    }
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{own.url}/openapi.json", "--no-color"]
    command += ["--header", f"Authorization: Bearer {joined['session_token']}"]
    command += ["--header", f"User-Agent: {USER_AGENT}", "--checks", ",".join(CHECKS)]
    command += ["--phases", "examples,coverage,fuzzing", "--max-time", str(SECONDS // len(ROLES))]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "40"]
    command += [word for path in EXCLUDED for word in ("--exclude-path", path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=SECONDS + 300, check=False
    )
    told = done.stdout[-20000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    tested = [line for line in done.stdout.splitlines() if "generated" in line]
    assert tested, told
    assert own.http.get("/ready").status_code == 200
