"""The rollout's plan: 21 days, each with a gate that this repository has."""

from __future__ import annotations

import re
import shlex

import pytest

from ci.rollout import read_rollout
from ci.settings import ROOT


@pytest.mark.proves(35, level="rendered")
def test_three_sprints_of_seven_days_follow_each_other() -> None:
    plan = read_rollout()
    assert [sprint.days for sprint in plan.sprints] == [(1, 7), (8, 14), (15, 21)]
    assert len(plan.days) == sum(sprint.length for sprint in plan.sprints) == 21


def test_the_buffer_and_the_hardening_share_one_day() -> None:
    plan = read_rollout()
    assert {span.name: span.length for span in plan.reserves} == {"migration buffer": 3, "hardening": 5}
    assert len(plan.shared()) == 1


def test_every_gate_is_a_command_of_this_repository() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    missing = []
    for number, day in enumerate(read_rollout().days, 1):
        assert day.gate, number
        for command in day.gate:
            words = shlex.split(command)
            if words[0] == "make":
                missing += [] if words[1] in targets else [f"day {number}: make {words[1]}"]
                continue
            assert words[:3] == ["ci/python", "-m", "pytest"], command
            missing += [f"day {number}: {path}" for path in words[3:] if not (ROOT / path).exists()]
    assert not missing
