"""Secrets in log lines: what is struck out, what is left as it is, and that each image does it in its own log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lighthouse_agent.redaction
import lighthouse_bridge.redaction
import lighthouse_fuse_csi.redaction
import lighthouse_redis_keeper.redaction

if TYPE_CHECKING:
    from types import ModuleType

IMAGES = Path(__file__).parents[2] / "images"
MODULES: tuple[ModuleType, ...] = (
    lighthouse_bridge.redaction,
    lighthouse_agent.redaction,
    lighthouse_fuse_csi.redaction,
    lighthouse_redis_keeper.redaction,
)
redact, struck, STRUCK = (
    lighthouse_bridge.redaction.redact,
    lighthouse_bridge.redaction.struck,
    lighthouse_bridge.redaction.STRUCK,
)

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlanted7e0c\nAwEHoUQDQgAE\n-----END EC PRIVATE KEY-----"
# Texts by the secret in each.
PLANTED = {
    "Planted7e01aa": "Authorization: Bearer Planted7e01aa",
    "UGxhbnRlZDdlMDI6eA==": "authorization=basic UGxhbnRlZDdlMDI6eA==",
    "Planted7e03": "cannot reach postgresql://bridge:Planted7e03@db:5432/lighthouse",
    "Planted7e04": "git clone https://Planted7e04@git.example.com/a.git",
    "Planted7e05": "mysql --password Planted7e05 -e 'select 1'",
    "Planted7e06": "export PGPASSWORD=Planted7e06; psql",
    "Planted7e07": "curl -u admin:Planted7e07 https://example.com",
    "Planted7e08": '{"client_secret": "Planted7e08", "scope": "all"}',
    "Planted 7e09": "login with password='Planted 7e09' failed",
    "Planted7e10": "GET /callback?access_token=Planted7e10&state=3",
    "Planted7e11": "aws_secret_access_key = Planted7e11",
    "Planted7e0c": f"cannot parse {PEM} as a key",
    "Planted7e12": "-----BEGIN PRIVATE KEY-----\nPlanted7e12 and no end",
    "AKIA" + "Q" * 16: "denied for AKIA" + "Q" * 16,
    "ghp_" + "a1" * 18: "remote: ghp_" + "a1" * 18 + " is invalid",
    "xoxb-1234567890-abcdef": "posting with xoxb-1234567890-abcdef",
    "sk-" + "Planted7e13" * 2: "the model refused sk-" + "Planted7e13" * 2,
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln": "token eyJhbGciOiJI.eyJzdWIiOiIx.c2ln expired",
}
HARMLESS = (
    "request",
    "/shadow/file/docs/tokens.md",
    "The session token is missing; send Authorization: Bearer with one from POST /session/create.",
    "LIGHTHOUSE_AUTH_SECRET_FILE: cannot read /run/auth/secret",
    "no join key is usable, nobody can open a session",
    "auth secret taken over",
    "https://opa:8181/v1/data/lighthouse/decisions",
    "kubectl get secret/keys -o name",
    "user@example.com",
)


def test_every_image_has_the_same_code() -> None:
    files = [Path(module.__file__ or "") for module in MODULES]
    assert len({path.read_bytes() for path in files}) == 1
    assert {path.parents[1].name for path in files} == {"bridge", "agent", "fuse-csi", "redis-keeper"}


@pytest.mark.parametrize("secret", PLANTED)
def test_a_secret_is_struck_out_wherever_it_stands(secret: str) -> None:
    text = PLANTED[secret]
    assert secret in text
    for event in (
        {"event": text},
        {"event": "x", "reason": f"before {text}"},
        {"event": "x", "steps": [{"command": text}, ("y", text)]},
        {"event": "x", "error": ValueError(text)},
        {"event": "x", "body": text.encode()},
        {"event": "x", "found": {text: 1}},
    ):
        said = json.dumps(redact(None, "info", event))
        assert secret not in said, said
        assert STRUCK in said


@pytest.mark.parametrize("name", ["password", "token", "client_token", "api_key", "secrets", "passphrase"])
def test_a_field_that_is_named_as_a_secret_is_struck_out(name: str) -> None:
    wanted = name != "client_token"
    said = redact(None, "info", {"event": "x", "at": {name: "hunter2"}, name: "hunter2"})
    assert (said[name] == STRUCK) == wanted
    assert (said["at"][name] == STRUCK) == wanted


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert struck(text) == text


def test_numbers_stay_numbers() -> None:
    event = {"event": "auth secret taken over", "keys": 3, "tokens": 7, "ms": 0.5, "ok": True, "who": None}
    assert redact(None, "info", dict(event)) == event


@given(
    st.recursive(st.text() | st.integers() | st.binary() | st.none(), lambda c: st.dictionaries(st.text(), c))
)
def test_whatever_is_logged_can_be_written(value: object) -> None:
    json.dumps(redact(None, "info", {"event": "x", "value": value}))


@given(st.text(), st.text(alphabet="abcdef0123456789", min_size=8), st.text())
def test_a_password_in_a_url_never_stays(before: str, secret: str, after: str) -> None:
    said = struck(f"{before} https://user:{secret}@host/ {after}")
    assert secret in before + after or secret not in said


@pytest.mark.parametrize(
    "text",
    [
        "token" * 20_000,
        "password=" * 10_000,
        "://" + "x" * 100_000,
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        'secret="' + "\\" * 100_000,
        "eyJ" * 30_000,
        " -u" * 30_000,
        "secret" + " " * 100_000,
        "bearer " * 15_000,
    ],
)
def test_a_text_made_to_take_long_does_not(text: str) -> None:
    started = time.perf_counter()
    struck(text)
    assert time.perf_counter() - started < 5


# Each image's own set-up of its log, as its program does it.
SET_UP = {
    "bridge": "from lighthouse_bridge.logs import configure_logs; configure_logs('info')",
    "agent": "import logging; from lighthouse_agent.logs import configure; configure(logging.INFO, 'agent-1')",
    "fuse-csi": "from lighthouse_fuse_csi.logs import configure; configure('info')",
    "redis-keeper": "import logging; from lighthouse_redis_keeper.__main__ import _configure_logs;"
    " _configure_logs(logging.INFO)",
}
SPEAK = """
import json, sys, structlog
log = structlog.get_logger()
for text in json.load(sys.stdin):
    log.info("said", reason=text)
    log.info(text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
log.info("end", count=3)
"""


@pytest.mark.parametrize("image", SET_UP)
def test_the_log_of_each_image_shows_no_secret(image: str) -> None:
    path = os.pathsep.join(str(IMAGES / name) for name in SET_UP)
    done = subprocess.run(
        [sys.executable, "-c", SET_UP[image] + SPEAK],
        input=json.dumps(list(PLANTED.values())),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3 * len(PLANTED) + 1
    assert lines[-1]["count"] == 3
    assert [secret for secret in PLANTED if secret in done.stdout + done.stderr] == []
    assert sum(STRUCK in line for line in done.stdout.splitlines()) == 3 * len(PLANTED)
