"""streams/: regular files that grow, followed with tail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from tests.images.fuse_csi.support import BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.images.fuse_csi.machine import Pod

NAMES = [
    "agent_activities",
    "debug_events",
    "expert_responses",
    "file_changes",
    "pair_sessions",
    "validation_requests",
]


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def follow(pod: Pod, name: str, output: Path) -> subprocess.Popen[bytes]:
    """`tail -f` in the container, from now on."""
    with output.open("wb") as file:
        return subprocess.Popen(
            pod.in_container(["tail", "-n", "0", "-s", "0.05", "-f", f"/mnt/project/streams/{name}"]),
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_streams_are_regular_files_of_true_size(pod: Pod) -> None:
    assert sorted(os.listdir(pod.project / "streams")) == NAMES  # noqa: PTH208 (names only)
    for name in NAMES:
        path = pod.project / "streams" / name
        assert path.is_file()
        assert path.stat().st_size == len(path.read_bytes())


def test_each_event_goes_to_its_stream_once_and_in_order(pod: Pod, bridge: BridgeProgram) -> None:
    kinds = {
        "command_received": "validation_requests",
        "pair_session_started": "pair_sessions",
        "directory_created": "file_changes",
        "agent_heartbeat": "agent_activities",
        "degradation_triggered": "debug_events",
        "custom": "debug_events",
    }
    wanted: dict[int, str] = {}
    for kind, name in kinds.items():
        answer = bridge.call("POST", "/event/store", {"event_type": kind, "data": {"kind": kind}})
        wanted[answer["sequence"]] = name
    # The bridge alone makes this one, when it gives an expert work.
    expert = {"agent_id": "asked", "agent_type": "x", "capabilities": ["x"]}
    bridge.call("POST", "/expert/register", expert, token=bridge.session("expert", "asked"))
    bridge.call("POST", "/task/dispatch", {"target_agent": "asked", "task_description": "x"})
    summoned = bridge.call("GET", "/event/query?event_type=expert_agent_summoned")["events"]
    wanted[summoned[-1]["sequence"]] = "expert_responses"
    folder = pod.project / "streams"

    def found() -> bool:
        places = {record["sequence"]: name for name in NAMES for record in records(folder / name)}
        return all(places.get(sequence) == name for sequence, name in wanted.items())

    eventually(found, 2)
    for name in NAMES:
        sequences = [record["sequence"] for record in records(folder / name)]
        assert sequences == sorted(set(sequences))


def test_tail_follows_file_changes(pod: Pod, bridge: BridgeProgram, tmp_path: Path) -> None:
    output = tmp_path / "tail"
    tail = follow(pod, "file_changes", output)
    try:
        time.sleep(0.3)
        bridge.write("followed", "1", "create")
        eventually(lambda: "followed" in output.read_text(), 2)
        (record,) = [each for each in records(output) if each["data"]["path"] == "followed"]
        assert record["event_type"] == "file_created"
    finally:
        tail.kill()
        tail.wait()


def test_tail_goes_on_over_restarts_of_the_daemon(pod: Pod, bridge: BridgeProgram, tmp_path: Path) -> None:
    output = tmp_path / "tail"
    tail = follow(pod, "file_changes", output)
    try:
        time.sleep(0.3)
        for index in range(8):
            bridge.write(f"restarted-{index}", "x", "create")
            os.kill(pod.daemon(), signal.SIGKILL)
            time.sleep(0.1)
        eventually(lambda: "restarted-7" in output.read_text(), 5)
        names = [record["data"]["path"] for record in records(output)]
        assert [name for name in names if "restarted" in name] == [f"restarted-{each}" for each in range(8)]
        assert tail.poll() is None
    finally:
        tail.kill()
        tail.wait()


def test_stream_is_emptied_at_its_limit_and_followers_go_on(
    make_pod: Callable[..., Pod], bridge: BridgeProgram, tmp_path: Path
) -> None:
    pod = make_pod(LIGHTHOUSE_STREAM_KIB="16").start()
    output = tmp_path / "tail"
    tail = follow(pod, "file_changes", output)
    try:
        time.sleep(0.3)
        path = pod.project / "streams/file_changes"
        sizes = []
        for index in range(60):
            bridge.write(f"rotated-{index}", "x" * 10, "create")
            sizes.append(path.stat().st_size)
            time.sleep(0.02)
        assert max(sizes) <= 16 * 1024
        eventually(lambda: '"rotated-59"' in output.read_text(), 2)
        assert all(json.loads(line) for line in path.read_text().splitlines())
    finally:
        tail.kill()
        tail.wait()
