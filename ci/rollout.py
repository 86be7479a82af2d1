"""The rollout's days and their gates: docs/rollout.md from docs/rollout.yaml, and the commands of a day."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import msgspec

from ci.console import Failure
from ci.settings import KUBECONFIG, ROOT

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = ROOT / "docs" / "rollout.yaml"
PAGE = ROOT / "docs" / "rollout.md"


class Span(msgspec.Struct, forbid_unknown_fields=True):
    """Days that belong together, first and last."""

    name: str
    days: tuple[int, int]

    @property
    def length(self) -> int:
        """How many days it has."""
        return self.days[1] - self.days[0] + 1

    def holds(self, day: int) -> bool:
        """Whether a day belongs to it."""
        return self.days[0] <= day <= self.days[1]


class Day(msgspec.Struct, forbid_unknown_fields=True):
    """What is reached at the end of a day, by whom, and the commands that show it."""

    goal: str
    owner: str
    gate: list[str]


class Rollout(msgspec.Struct, forbid_unknown_fields=True):
    """The plan; day 1 of it is `first_day` of the programme."""

    first_day: int
    sprints: list[Span]
    reserves: list[Span]
    days: list[Day]

    def shared(self) -> list[int]:
        """Days that belong to more than one reserve."""
        numbers = range(1, len(self.days) + 1)
        return [day for day in numbers if sum(span.holds(day) for span in self.reserves) > 1]


def read_rollout() -> Rollout:
    """The plan; raises msgspec.ValidationError for one that cannot be used."""
    return msgspec.yaml.decode(SOURCE.read_bytes(), type=Rollout)


def page(rollout: Rollout) -> str:
    """docs/rollout.md."""
    first, count = rollout.first_day, len(rollout.days)
    reserved = [f"{span.length} days of {span.name}" for span in rollout.reserves]
    shared = ", ".join(f"day {day}" for day in rollout.shared())
    lines = [
        "# Rollout",
        "",
        f"Written by `make generate` from `docs/rollout.yaml`. {count} days, days {first} to {first + count - 1} of the"
        f" programme, in {len(rollout.sprints)} sprints of seven days, with {' and '.join(reserved)}; the two share"
        f" {shared}. A day has ended when its gate holds: `make gate DAY=n` runs it.",
    ]
    for sprint in rollout.sprints:
        lines += [
            "",
            f"## {sprint.name}",
            "",
            "| day | programme | goal | owner | gate |",
            "|---:|---:|---|---|---|",
        ]
        for number in range(sprint.days[0], sprint.days[1] + 1):
            day = rollout.days[number - 1]
            names = ", ".join(span.name for span in rollout.reserves if span.holds(number))
            goal = f"{day.goal} ({names})" if names else day.goal
            gate = "<br>".join(f"`{command}`" for command in day.gate)
            lines.append(f"| {number} | {first + number - 1} | {goal} | {day.owner} | {gate} |")
    return "\n".join(lines) + "\n"


def run_gate(number: int, tools: Path, helm3: Path) -> bool:
    """Run a day's commands until one fails; whether all held. Raises Failure for a day there is not."""
    rollout = read_rollout()
    if not 1 <= number <= len(rollout.days):
        raise Failure(f"There is no day {number}: choose one from 1 to {len(rollout.days)}.")
    day = rollout.days[number - 1]
    print(f"day {number}, {day.owner}: {day.goal}", flush=True)
    programs = {"HELM": tools / "helm", "KUBECTL": tools / "kubectl", "HELM3": helm3 / "helm"}
    env = {**os.environ, **{name: str(path) for name, path in programs.items()}}
    if KUBECONFIG.exists():
        env.setdefault("KUBECONFIG", str(KUBECONFIG))
    for command in day.gate:
        print(f"$ {command}", flush=True)
        if subprocess.run(shlex.split(command), cwd=ROOT, env=env, check=False).returncode:
            print(f"day {number} has not ended: {command} failed", flush=True)
            return False
    print(f"day {number} has ended", flush=True)
    return True
