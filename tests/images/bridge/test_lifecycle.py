"""What survives: restarts, kills, drains, and a store that breaks and heals."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images.bridge.support import RULES, Bridge

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits


def run(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lighthouse_bridge"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=20, check=False)


def write_until_killed(own: Bridge, acknowledged: list[tuple[str, int]]) -> None:
    builder = own.join("builder")
    for n in range(100_000):
        try:
            answer = builder.update(f"kill/{n}", str(n), "create")
        except httpx.TransportError:
            return
        if answer.status_code != 200:
            return
        acknowledged.append((f"kill/{n}", answer.json()["sequence"]))


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    for _ in range(2):
        acknowledged: list[tuple[str, int]] = []
        writer = threading.Thread(target=write_until_killed, args=(own, acknowledged))
        writer.start()
        own.wait_for(lambda: len(acknowledged) > 60)  # noqa: B023 - used before the next round
        own.kill()
        writer.join()
        own.start()
        expert = own.join("expert")
        files = {row[0] for row in expert.get("/shadow/tree").json()["files"]}
        assert {path for path, _ in acknowledged} <= files
        events = expert.get("/event/query", params={"event_type": "file_created", "limit": 1000}).json()[
            "events"
        ]
        stored = {event["data"]["path"]: event["sequence"] for event in events}
        assert all(stored[path] == sequence for path, sequence in acknowledged[-500:])
        operator = own.join("operator")
        for path in files:
            operator.update(path, None, "delete")


def test_sessions_and_data_survive_a_restart(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    builder.update("kept.txt", "kept")
    sequence = own.sequence()
    assert own.stop() == 0
    assert not own.store.with_name("events.db-wal").exists()
    own.start()
    assert own.sequence() == sequence
    assert builder.get("/shadow/read/kept.txt").text == "kept"
    assert builder.update("more.txt", "more").json()["sequence"] == sequence + 1


def test_a_stop_drains(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    lines: list[Any] = []
    opened = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", own.url + "/events/stream", headers=builder.headers, timeout=10) as answer:
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                opened.set()

    def body() -> Any:
        whole = b'{"operation":"create","file_path":"late.txt","content":"late","agent_id":"%s"}'
        content = whole % builder.agent_id.encode()
        yield content[:20]
        assert own.process is not None
        own.process.send_signal(signal.SIGTERM)
        own.wait_for(lambda: own.http.get("/ready").status_code == 503)
        assert own.http.get("/health").status_code == 200
        yield content[20:]

    listener = threading.Thread(target=listen)
    listener.start()
    assert opened.wait(5)
    headers = {**builder.headers, "Content-Type": "application/json"}
    answer = httpx.post(own.url + "/shadow/update", content=body(), headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    listener.join(5)
    assert lines[-1]["closing"] is True
    assert own.process is not None
    assert own.process.wait(10) == 0
    own.start()
    assert builder.get("/shadow/read/late.txt").text == "late"


def test_who_asks_steadily_while_a_bridge_stops_gets_every_answer(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge()
    builder = own.join("builder")
    answers: list[httpx.Response] = []
    stopping = threading.Event()

    def ask() -> None:
        while not (answers and answers[-1].headers.get("connection") == "close"):
            answers.append(builder.post("/event/store", {"event_type": "custom", "data": {}}))
            stopping.set()
            time.sleep(0.05)

    asking = threading.Thread(target=ask)
    asking.start()
    assert stopping.wait(10)
    assert own.process is not None
    own.process.send_signal(signal.SIGTERM)
    asking.join(10)
    assert {answer.status_code for answer in answers} == {200}
    assert own.process.wait(10) == 0


def test_a_drain_ends_in_time_though_a_request_does_not(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_DRAIN_SECONDS="0.5")
    builder = own.join("builder")
    with socket.create_connection(("127.0.0.1", own.port)) as stuck:
        head = f"POST /shadow/update HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {builder.token}\r\n"
        stuck.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        time.sleep(0.2)
        started = time.monotonic()
        assert own.stop() == 0
        assert time.monotonic() - started < 4


def test_readiness_follows_the_store_and_liveness_does_not(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder = own.join("builder")
    builder.update("before.txt", "x")
    own.limit_file_size(0)
    refused = builder.update("full.txt", "y" * 200_000)
    assert refused.status_code == 503
    assert "cannot be written" in refused.json()["detail"]
    unready = own.http.get("/ready")
    assert (unready.status_code, bool(unready.json()["detail"])) == (503, True)
    assert own.http.get("/health").status_code == 200
    assert builder.get("/shadow/read/before.txt").text == "x"
    body = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "agent_id": builder.agent_id}
    assert builder.post("/validate", body).status_code == 503
    own.limit_file_size(-1)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    assert builder.update("full.txt", "y").status_code == 200


def test_a_store_that_is_gone_or_damaged_is_told_and_taken_up_again(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge()
    builder = own.join("builder")
    builder.update("kept.txt", "x")
    away = own.store.with_name("away")
    own.store.rename(away)
    assert "gone" in own.http.get("/ready").json()["detail"]
    assert builder.update("lost.txt", "y").status_code == 503
    away.rename(own.store)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    header = own.store.read_bytes()[:100]
    with own.store.open("r+b") as file:
        file.write(b"\xff" * 100)
    assert own.http.get("/ready").status_code == 503
    assert builder.update("lost.txt", "y").status_code == 503
    assert own.http.get("/health").status_code == 200
    with own.store.open("r+b") as file:
        file.write(header)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    assert builder.get("/shadow/read/kept.txt").text == "x"
    assert builder.update("found.txt", "y").status_code == 200


@pytest.mark.proves(2, level="survives")
def test_a_store_that_cannot_be_opened_keeps_the_bridge_alive_but_not_ready(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    own = start_bridge(LIGHTHOUSE_EVENT_STORE_PATH=str(tmp_path / "blocked" / "events.db"))
    assert own.http.get("/ready").status_code == 503
    answer = own.http.post("/session/create", json={"agent_id": "a"}, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401
    (tmp_path / "blocked").unlink()
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    assert own.join("builder").update("a", "b").status_code == 200


def test_rules_are_reloaded_and_broken_ones_are_not(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for path in RULES.glob("*.yaml"):
        (rules / path.name).write_bytes(path.read_bytes())
    own = start_bridge(LIGHTHOUSE_RULES_DIR=str(rules))
    builder = own.join("builder")
    first = builder.validate("frobnicate --all")
    assert first["approved"] is False

    def version() -> str:
        return str(own.http.get("/status").json()["rules_version"])

    old = version()
    (rules / "extra.yaml").write_text("schema: 1\nrules: [{id: x")
    own.wait_for(lambda: "older ones stay in force" in own.log.read_text())
    assert version() == old
    assert own.http.get("/status").json()["mode"] == "degraded"
    assert builder.validate("ls")["approved"] is True
    (rules / "extra.yaml").write_text(
        "schema: 1\nrules:\n  - id: extra.frobnicate\n    programs: [frobnicate]\n    decision: approve\n"
        "    reason: It is known here.\n"
    )
    own.wait_for(lambda: version() != old)
    again = builder.validate("frobnicate --all")
    assert (again["approved"], again["metadata"]["rule"]) == (True, "extra.frobnicate")
    assert again["metadata"]["rules_version"] == version()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LIGHTHOUSE_PORT", "abc"),
        ("LIGHTHOUSE_PORT", "70000"),
        ("LIGHTHOUSE_PORT", "tcp://10.0.0.1:8765"),
        ("LIGHTHOUSE_METRICS_PORT", "0"),
        ("LIGHTHOUSE_LOG_LEVEL", "loud"),
        ("LIGHTHOUSE_EVENT_STORE_PATH", "relative.db"),
        ("LIGHTHOUSE_DRAIN_SECONDS", "-1"),
        ("LIGHTHOUSE_VALIDATION_WAIT_SECONDS", "31"),
        ("LIGHTHOUSE_EXPERT_SECONDS", "0"),
        ("LIGHTHOUSE_REVIEW_SECONDS", "soon"),
        ("LIGHTHOUSE_AUTH_SECRET_FILE", "/nowhere/secret"),
        ("LIGHTHOUSE_RULES_DIR", "/nowhere"),
        ("LIGHTHOUSE_PROJECT_ROOTS", "relative"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_exit_code_2(tmp_path: Path, name: str, value: str) -> None:
    env = Bridge(tmp_path / "state", {name: value}).env
    ran = run(env)
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1
    assert value in ran.stderr


@pytest.mark.parametrize("secret", ["", "short", "lighthouse-default-secret-change-in-production"])
def test_a_weak_secret_is_refused(tmp_path: Path, secret: str) -> None:
    own = Bridge(tmp_path / "state")
    (tmp_path / "state" / "auth-secret").write_text(secret)
    ran = run(own.env)
    assert ran.returncode == 2
    assert len(ran.stderr.strip().splitlines()) == 1


def test_a_taken_port_is_one_sentence_and_exit_code_2(bridge: Bridge, tmp_path: Path) -> None:
    env = Bridge(tmp_path / "state", {"LIGHTHOUSE_PORT": str(bridge.port)}).env
    ran = run(env)
    assert ran.returncode == 2
    assert str(bridge.port) in ran.stderr
