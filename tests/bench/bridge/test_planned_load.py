"""The planner's load is sent to one bridge, which carries alone what three are planned for, and stores what was reckoned."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ci import toolchain
from ci.capacity.data import read_measured
from ci.capacity.load import TOLERANCE, Load, plan
from ci.console import Steps
from tests.bench.bridge.generator import Generator
from tests.bench.bridge.mix import corpus, mixed
from tests.bench.bridge.servers import bridge_server

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.heavy

AGENTS = 1000
SECONDS = 15


@pytest.mark.proves(34, level="running")
def test_one_bridge_carries_the_load_planned_for_1000_agents_and_keeps_as_many_events(tmp_path: Path) -> None:
    measured = read_measured()
    planned = plan(Load(AGENTS), measured)
    assert planned.bridges == 3
    program = toolchain.go_tool(toolchain.LOAD, Steps(quiet=True)) / "load"
    load = Generator(program, ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    with bridge_server(tmp_path / "bridge", AGENTS) as bridge:
        path = bridge.requests("mix", mixed(10_000, corpus()))
        before = bridge.sequence()
        # Open loop: a request is sent when it is due, whether or not those before it were answered.
        run = load.attack(
            bridge.address,
            path,
            bridge.pid,
            rate=round(planned.load.per_second),
            duration=f"{SECONDS}s",
            connections=AGENTS,
            timeout="30s",
        )
        events = bridge.sequence() - before
    sent = run.report["requests"]
    assert sent == pytest.approx(planned.load.per_second * SECONDS, rel=0.05)
    assert (run.errors, run.report["wrong"]) == (0, 0)
    assert events / sent == pytest.approx(measured.events_per_validation, rel=TOLERANCE - 1)
