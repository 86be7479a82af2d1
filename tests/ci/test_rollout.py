"""The rollout's plan: 21 days, each with a gate that this repository has."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ci.rollout import read_rollout
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.proves(35, level="rendered")
def test_three_sprints_of_seven_days_follow_each_other() -> None:
    plan = read_rollout()
    assert [sprint.days for sprint in plan.sprints] == [(1, 7), (8, 14), (15, 21)]
    assert len(plan.days) == sum(sprint.length for sprint in plan.sprints) == 21


def test_the_buffer_and_the_hardening_share_one_day() -> None:
    plan = read_rollout()
    assert {span.name: span.length for span in plan.reserves} == {"migration buffer": 3, "hardening": 5}
    assert len(plan.shared()) == 1


def commands() -> list[str]:
    """Every command of every gate, each once."""
    found = [command for day in read_rollout().days for command in day.gate]
    assert all(day.gate for day in read_rollout().days)
    return list(dict.fromkeys(found))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.heavy
def test_every_gate_by_make_starts() -> None:
    """What make would run is asked for its help, which every program of ours gives before it begins."""
    gates = [command for command in commands() if shlex.split(command)[0] == "make"]
    assert len(gates) > 10

    def start(command: str) -> str:
        planned = run(*shlex.split(command), "--dry-run")
        lines = [line for line in planned.stdout.splitlines() if "ci/python" in line]
        if planned.returncode or not lines:
            return f"{command}: {planned.stderr or 'make runs nothing'}"
        done = [run("sh", "-c", f"{line} --help") for line in lines]
        return "".join(
            f"{command}: {one.stderr}" for one in done if one.returncode or "sage:" not in one.stdout
        )

    with ThreadPoolExecutor(2) as pool:
        assert [problem for problem in pool.map(start, gates) if problem] == []


@pytest.mark.heavy
def test_every_gate_by_pytest_finds_tests_in_each_of_its_files() -> None:
    gates = [shlex.split(command) for command in commands() if not command.startswith("make ")]
    assert {tuple(words[:3]) for words in gates} == {("ci/python", "-m", "pytest")}
    files = sorted({path for words in gates for path in words[3:]})
    found = run(sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider", *files)
    assert found.returncode == 0, found.stdout
    counts = dict(re.findall(r"^(\S+\.py): (\d+)$", found.stdout, re.MULTILINE))
    assert sorted(counts) == files
    assert all(int(count) for count in counts.values())


def test_a_gate_that_does_not_hold_says_so_and_a_day_that_is_not_is_refused(tmp_path: Path) -> None:
    held = run(sys.executable, "-m", "ci", "gate", "--day", "22")
    assert held.returncode == 1
    assert "There is no day 22: choose one from 1 to 21." in held.stderr
    # Without a cluster, day 4 cannot ask for its nodes.
    absent = {**os.environ, "KUBECONFIG": str(tmp_path / "absent"), "CLUSTER": "absent"}
    done = subprocess.run(
        [sys.executable, "-m", "ci", "gate", "--day", "4"],
        cwd=ROOT,
        env=absent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "day 4 has not ended" in done.stdout


@pytest.mark.heavy
def test_a_day_has_ended_when_every_command_of_its_gate_holds() -> None:
    """Day 13 needs neither a cluster nor a build."""
    gate = read_rollout().days[12].gate
    done = run(sys.executable, "-m", "ci", "gate", "--day", "13")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("$ ")] == [f"$ {command}" for command in gate]
    assert lines[-1] == "day 13 has ended"
    assert re.search(r"^=* ?[1-9]\d* passed in ", done.stdout, re.MULTILINE)
