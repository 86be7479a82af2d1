"""The expert agent process: joins a real bridge, watches the mount, survives faults, leaves in order."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.settings import run_settings
from tests.images.agent.agents import agent
from tests.images.agent.support import (
    KEYS,
    TOKEN,
    Bridge,
    RawServer,
    answer,
    clean_env,
    get,
    wait_for,
)

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits


def experts(bridge: Bridge) -> list[dict[str, Any]]:
    return list(bridge.ask("/experts")["experts"])


def ended_sessions(bridge: Bridge) -> int:
    return int(bridge.ask("/event/query?agent_id=security-1&event_type=agent_session_ended")["count"])


def test_an_agent_joins_and_leaves(shared_bridge: Bridge, tmp_path: Path) -> None:
    before = ended_sessions(shared_bridge)
    with agent(tmp_path, shared_bridge.url, shared_bridge.key_file("expert")) as running:
        running.wait_ready()
        (expert,) = (e for e in experts(shared_bridge) if e["agent_id"] == "security-1")
        assert expert["agent_type"] == "security"
        assert expert["capabilities"] == ["security_audit", "code_review"]
        assert expert["status"] == "available"
        status, body = get(f"http://127.0.0.1:{running.port}/health")
        assert (status, json.loads(body)) == (200, {"status": "healthy", "service": "lighthouse-agent"})
        assert get(f"http://127.0.0.1:{running.port}/elsewhere")[0] == 404
        wait_for(
            "heartbeats", lambda: running.metric("lighthouse_agents_heartbeats_total", outcome="ok") >= 3
        )
        assert running.metric("lighthouse_agents_registered") == 1
        assert running.metric("lighthouse_agents_mount_answering") == 1
        assert running.metric("lighthouse_agents_registrations_total") == 1
        assert running.metric("lighthouse_agents_mount_probe_seconds_count") >= 1
        assert running.metric("lighthouse_agents_bridge_request_seconds_count", route="POST /expert") >= 4
        assert running.stop() < 3
        names = [event["event"] for event in running.events()]
        assert names[0] == "agent.started"
        assert "bridge.joined" in names
        assert names[-3:] == ["agent.draining", "session.ended", "agent.stopped"]
        assert all(event["agent_id"] == "security-1" for event in running.events())
        assert KEYS["expert"] not in running.log.read_text()
    assert ended_sessions(shared_bridge) == before + 1


def test_an_agent_waits_for_a_bridge_and_outlives_it(stopped_bridge: Bridge, tmp_path: Path) -> None:
    with agent(tmp_path, stopped_bridge.url, stopped_bridge.key_file("expert")) as running:
        running.wait_ready(503, "Connection refused")
        assert get(f"http://127.0.0.1:{running.port}/health")[0] == 200
        with stopped_bridge.running():
            running.wait_ready()
        running.wait_ready(503, "Connection refused")
        assert running.metric("lighthouse_agents_registered") == 0
        with stopped_bridge.running():
            running.wait_ready()
            assert running.metric("lighthouse_agents_registrations_total") == 1, (
                "the session outlived the restart"
            )
        assert running.stop() < 8


def test_a_lost_session_is_opened_and_registered_anew(shared_bridge: Bridge, tmp_path: Path) -> None:
    with agent(tmp_path, shared_bridge.url, shared_bridge.key_file("expert")) as running:
        running.wait_ready()
        for _ in range(3):
            shared_bridge.session("expert", agent="security-1")  # the bridge keeps three and ends the oldest
        wait_for("a registration", lambda: running.metric("lighthouse_agents_registrations_total") == 2)
        running.wait_ready()


def test_an_expert_the_bridge_forgot_registers_again(
    raw_server: Callable[[Any], RawServer], stopped_bridge: Bridge, tmp_path: Path
) -> None:
    session = {"session_id": "0", "session_token": TOKEN, "agent_id": "security-1", "role": "expert"}
    registered = {"success": True, "message": "", "token": "t", "agent_id": "security-1"}
    alive = answer(200, {"status": "available", "expires_at": ""})
    server = raw_server(
        {
            "/session/create": answer(200, session),
            "/expert/register": answer(200, registered),
            "/expert/heartbeat": [alive, answer(404, {"detail": "Unknown expert."}), alive],
        }
    )
    with agent(tmp_path, server.url, stopped_bridge.key_file("expert")) as running:
        wait_for("two registrations", lambda: server.count("/expert/register") == 2)
        running.wait_ready()
        assert server.count("/session/create") == 1


def test_a_mount_that_is_missing_or_empty_makes_the_agent_unready(
    shared_bridge: Bridge, tmp_path: Path
) -> None:
    with agent(tmp_path, shared_bridge.url, shared_bridge.key_file("expert")) as running:
        running.wait_ready()
        (running.mount / "current").rmdir()
        running.wait_ready(503, "does not show the project (No such file or directory)")
        running.mount.rmdir()
        running.wait_ready(503, "cannot be read (No such file or directory)")
        assert running.metric("lighthouse_agents_mount_answering") == 0
        (running.mount / "current").mkdir(parents=True)
        running.wait_ready()
        assert [e["event"] for e in running.events()].count("mount.missing") == 2


def can_mount() -> bool:
    return os.geteuid() == 0 and Path("/dev/fuse").exists()


@pytest.mark.skipif(not can_mount(), reason="needs root and /dev/fuse to make a mount that hangs")
def test_a_hung_mount_never_hangs_the_agent(shared_bridge: Bridge, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    target = tmp_path / "hung"
    target.mkdir()
    device = os.open("/dev/fuse", os.O_RDWR)
    try:
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
        made = libc.mount(b"fuse", os.fsencode(target), b"fuse.hung", 7, options)
        if made != 0:
            pytest.skip(f"mount is not permitted here: {os.strerror(ctypes.get_errno())}")
        mount = {"LIGHTHOUSE_MOUNT": str(target)}
        with agent(tmp_path, shared_bridge.url, shared_bridge.key_file("expert"), **mount) as running:
            running.wait_ready(503, "has not answered for 0.3 s")
            assert running.metric("lighthouse_agents_registered") == 1
            assert running.metric("lighthouse_agents_mount_answering") == 0
            started = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            wait_for("the end of the session", lambda: "agent.stopped" in running.log.read_text())
            assert time.monotonic() - started < 3
            assert running.process.wait(5) == 0
    finally:
        os.close(device)
        with suppress(OSError):
            libc.umount2(os.fsencode(target), 2)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("LIGHTHOUSE_BRIDGE_URL", "", "LIGHTHOUSE_BRIDGE_URL is not set"),
        ("LIGHTHOUSE_AGENT_ID", "", "LIGHTHOUSE_AGENT_ID is missing"),
        ("LIGHTHOUSE_AGENT_ID", "-x", "LIGHTHOUSE_AGENT_ID '-x' is not an agent id"),
        ("LIGHTHOUSE_AGENT_TYPE", "", "LIGHTHOUSE_AGENT_TYPE is not set"),
        ("LIGHTHOUSE_HEALTH_PORT", "0", "LIGHTHOUSE_HEALTH_PORT '0' is not a number from 1 to 65535"),
        ("LIGHTHOUSE_EXPERT_HEARTBEAT_SECONDS", "often", "'often' is not a number"),
        ("LIGHTHOUSE_LOG_LEVEL", "loud", "LIGHTHOUSE_LOG_LEVEL 'loud' is unknown"),
    ],
)
def test_an_unusable_setting_is_named(name: str, value: str, part: str) -> None:
    good = {
        "LIGHTHOUSE_BRIDGE_URL": "http://bridge:8765",
        "LIGHTHOUSE_AGENT_ID": "security-1",
        "LIGHTHOUSE_AGENT_TYPE": "security",
    }
    assert run_settings(good).port == 8083
    with pytest.raises(SettingsError) as caught:
        run_settings({**good, name: value})
    assert part in str(caught.value)


def test_an_unusable_setting_ends_the_start(tmp_path: Path) -> None:
    with agent(tmp_path, "http://127.0.0.1:9", tmp_path / "key", LIGHTHOUSE_AGENT_TYPE="") as running:
        assert running.process.wait(5) == 1
        (sentence,) = running.log.read_text().splitlines()
        assert sentence.startswith("Error: LIGHTHOUSE_AGENT_TYPE is not set;")


def test_a_taken_port_ends_the_start(shared_bridge: Bridge, tmp_path: Path) -> None:
    taken = {"LIGHTHOUSE_HEALTH_PORT": str(shared_bridge.port)}
    with agent(tmp_path, "http://127.0.0.1:9", tmp_path / "key", **taken) as running:
        assert running.process.wait(5) == 1
        assert (
            f"Port {shared_bridge.port} cannot be served (Address already in use)" in running.log.read_text()
        )


def test_wait_ready_follows_the_bridge(stopped_bridge: Bridge) -> None:
    env = clean_env(LIGHTHOUSE_BRIDGE_URL=stopped_bridge.url)
    command = [sys.executable, "-m", "lighthouse_agent", "wait-ready"]
    late = subprocess.run(
        [*command, "--timeout", "0.3"], env=env, capture_output=True, text=True, check=False
    )
    assert late.returncode == 1
    assert "was not ready within 0.3 s" in late.stderr
    with subprocess.Popen([*command, "--timeout", "15"], env=env) as waiting, stopped_bridge.running():
        assert waiting.wait(10) == 0
