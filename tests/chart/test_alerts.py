"""The rendered alerting rules, asked by promtool what they say to made-up series: cases are in alerts/*.yaml."""

from __future__ import annotations

import copy
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci.console import Steps
from ci.toolchain import PROMTOOL, go_tool
from lighthouse_harness.alerts import Alert, alerts, rule_groups
from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge

from .conftest import HERE, WHOLE, request_for

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_harness.documents import Document
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer

CASES = tuple(sorted((HERE / "alerts").glob("*.yaml")))
BRIDGES = {
    "bridge": {
        "replicas": 3,
        "database": {"host": "postgres", "existingSecret": "a", "existingTlsSecret": "b"},
    },
    "networkPolicies": {"database": {"peers": [{"ipBlock": {"cidr": "192.0.2.0/28"}}]}},
}
# How the name of a case goes on after that of its alert.
FIRES, SILENT, ABSENT = "fires", "is silent", "without series"


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Prometheus' own tester of rules."""
    return go_tool(PROMTOOL, Steps(quiet=True)) / "promtool"


@pytest.fixture(scope="module")
def whole_render(renderer: Renderer) -> Render:
    """A release with all its parts, and bridges of which one can be missing."""
    return renderer.render(replace(request_for("default"), overrides=merge(WHOLE, BRIDGES)))


@pytest.fixture(scope="module")
def groups(whole_render: Render) -> tuple[Document, ...]:
    """Its rules, in their groups: what alerts may read what the same group has recorded before."""
    found = rule_groups(whole_render)
    names = [group["name"] for group in found]
    assert len(set(names)) == len(names) > 1, names
    return found


@pytest.fixture(scope="module")
def rendered(whole_render: Render) -> dict[str, Alert]:
    """Its alerts, by name."""
    found = alerts(whole_render)
    assert found
    assert len({alert.name for alert in found}) == len(found), "two alerts have one name"
    return {alert.name: alert for alert in found}


def cases_of(path: Path) -> list[dict[str, Any]]:
    """The cases of a file."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())["tests"]
    return found


def whole(path: Path, rendered: dict[str, Alert], rules: Path) -> dict[str, Any]:
    """A file of cases as promtool takes it: with the rules, and what each alert says of itself."""
    made: dict[str, Any] = copy.deepcopy(yaml.safe_load(path.read_text()))
    made["rule_files"] = [str(rules)]
    for case in made["tests"]:
        case.setdefault("interval", made["evaluation_interval"])
        for asked in case["alert_rule_test"]:
            rule = thaw(rendered[asked["alertname"]].rule)
            for expected in asked["exp_alerts"]:
                expected["exp_labels"] |= rule["labels"]
                expected["exp_annotations"] = rule["annotations"]
    return made


def written(folder: Path, groups: tuple[Document, ...], rendered: dict[str, Alert], path: Path) -> Path:
    """The folder's files of rules and of cases for promtool; returns the second.

    The rules are all of the groups that the cases ask, and no others: promtool evaluates each for every case.
    """
    rules, cases = folder / "rules.yaml", folder / "cases.yaml"
    asked = {each["alertname"] for case in cases_of(path) for each in case["alert_rule_test"]}
    used = [thaw(group) for group in groups if asked & {rule.get("alert") for rule in group["rules"]}]
    rules.write_text(yaml.safe_dump({"groups": used}))
    cases.write_text(yaml.safe_dump(whole(path, rendered, rules)))
    return cases


def test_every_alert_has_a_case_that_fires_one_that_is_silent_and_one_without_series(
    rendered: dict[str, Alert],
) -> None:
    cases = [case for path in CASES for case in cases_of(path)]
    problems = []
    for name in rendered:
        own = [case for case in cases if case["name"].startswith(f"{name} ")]
        problems += [
            f"{name}: no case '{name} {kind} …'"
            for kind in (FIRES, SILENT, ABSENT)
            if not [case for case in own if case["name"].startswith(f"{name} {kind}")]
        ]
        for case in own:
            if {asked["alertname"] for asked in case["alert_rule_test"]} != {name}:
                problems.append(f"{case['name']}: asks for another alert")
            expected = [asked["exp_alerts"] for asked in case["alert_rule_test"]]
            silent = case["name"].startswith(f"{name} {SILENT}")
            fires = case["name"].startswith(f"{name} {FIRES}")
            if (silent and any(expected)) or (fires and not all(expected)):
                problems.append(f"{case['name']}: expects something else than its name says")
    known = {f"{name} " for name in rendered}
    problems += [
        f"{case['name']}: no such alert is rendered"
        for case in cases
        if not case["name"].startswith(tuple(known))
    ]
    assert problems == []


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_do_what_their_cases_say(
    path: Path,
    groups: tuple[Document, ...],
    rendered: dict[str, Alert],
    promtool: Path,
    tmp_path: Path,
) -> None:
    cases = written(tmp_path, groups, rendered, path)
    done = subprocess.run(
        [promtool, "test", "rules", cases], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_notices_a_case_that_does_not_hold(
    groups: tuple[Document, ...], rendered: dict[str, Alert], promtool: Path, tmp_path: Path
) -> None:
    cases = written(tmp_path, groups, rendered, CASES[0])
    made = yaml.safe_load(cases.read_text())
    turned = next(case for case in made["tests"] if f" {FIRES}" in case["name"])
    turned["alert_rule_test"][0]["exp_alerts"] = []
    cases.write_text(yaml.safe_dump(made))
    done = subprocess.run(
        [promtool, "test", "rules", cases], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert turned["name"] in done.stdout + done.stderr
