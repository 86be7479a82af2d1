"""Starting over what a killed run left, and removing without a trace, on a second cluster beside the first."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci.settings import ROOT
from tests.live.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster

pytestmark = pytest.mark.live

NAME = "lhtest"
ENVIRONMENT = {
    **os.environ,
    "CLUSTER": NAME,
    "NODE_NETWORK": "10.251.0.0/24",
    "POD_NETWORK": "10.245.0.0/16",
    "SERVICE_NETWORK": "10.97.0.0/16",
}
COMMAND = [sys.executable, "-m", "ci"]


def ci(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def traces() -> list[str]:
    """What a cluster of that name has on the machine, by other means than the program under test."""
    found = [
        str(path)
        for depth in ("*", "*/*")
        for path in Path("/sys/fs/cgroup").glob(depth)
        if path.name == NAME
    ]
    found += [str(path) for path in Path("/run/netns").iterdir() if path.name.startswith(f"{NAME}-")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"{NAME}-cluster" in line]
    found += [str(path) for path in Path("/sys/class/net").iterdir() if path.name.startswith(NAME)]
    found += [str(path) for path in Path("/var/lib").iterdir() if path.name.startswith(f"{NAME}-")]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{NAME}-cluster".encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return found + [line for line in rules.splitlines() if "10.97." in line or "10.251." in line]


@pytest.fixture
def second_cluster() -> Iterator[None]:
    """Remove the second cluster at the end."""
    yield
    ci("down")


@pytest.mark.usefixtures("second_cluster")
def test_killed_start_is_started_over_and_removed_without_a_trace(cluster: Cluster) -> None:
    nodes = cluster.kubectl("get", "nodes", "-o", "name")
    assert traces() == []
    for latest in (3.0, 12.0):
        started = subprocess.Popen(
            [*COMMAND, "up"], cwd=ROOT, env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL
        )
        eventually(lambda: bool(traces()), 120, "a cluster under way")
        time.sleep(random.uniform(0, latest))  # noqa: S311 - any moment will do
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    assert traces(), "a start killed after seconds should have left something to clean up"
    up = ci("up")
    assert up.returncode == 0, up.stderr
    assert "Lighthouse runs" in up.stdout
    again = ci("up")
    assert again.returncode == 0, again.stderr
    assert "remove what an earlier cluster left" not in again.stderr
    assert "10.97." in ci("url").stdout
    down = ci("down")
    assert down.returncode == 0, down.stderr
    assert traces() == []
    assert cluster.kubectl("get", "nodes", "-o", "name") == nodes


@pytest.mark.usefixtures("second_cluster")
def test_interrupted_start_says_what_to_do() -> None:
    started = subprocess.Popen([*COMMAND, "up"], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    time.sleep(random.uniform(1, 4))  # noqa: S311 - any moment will do
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=20)
    assert started.returncode == 130
    assert "make down" in said
