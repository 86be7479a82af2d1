"""Each way to break the templates is noticed by the check that is named for it: no mutant survives."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.changes import upgrade
from lighthouse_harness.findings import EmptySelectionError, Finding
from lighthouse_harness.gates import GATES
from lighthouse_harness.model import Request
from lighthouse_harness.namespaces import namespace_levels
from lighthouse_harness.network_flows import compare

from .conftest import CHART
from .flow_scenarios import SCENARIOS, expected, network, request_of
from .mutants import MUTANTS, Mutant
from .test_profiles import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer
    from lighthouse_harness.waivers import Waivers

pytestmark = pytest.mark.heavy


def _request(chart: Path) -> Request:
    return Request(chart, release="lighthouse", namespace="lighthouse")


def _findings(render: Render, before: Render, waivers: Waivers) -> set[Finding]:
    verdicts = [upgrade(before, render), namespace_levels(render, dict(SETTINGS.namespaces))]
    for gate in GATES:
        # A render may be too broken for some gates, such as two objects of one name for the network's.
        with suppress(EmptySelectionError, KeyError, ValueError):
            verdicts.append(gate.judge(render, SETTINGS))
    return {finding for verdict in verdicts for finding in waivers.apply(verdict).findings}


@pytest.fixture(name="sound", scope="module")
def _sound(renderer: Renderer) -> Render:
    return renderer.render(_request(CHART))


def _network_findings(chart: Path, renderer: Renderer) -> set[Finding]:
    """What is open beyond the table, or closed within it; in a shared namespace no denial hides a wide rule."""
    found: set[Finding] = set()
    for scenario in (SCENARIOS["default"], SCENARIOS["shared namespace"]):
        render = renderer.render(replace(request_of(scenario), chart=chart))
        with suppress(EmptySelectionError, KeyError, ValueError):
            found |= set(compare(network(render, scenario), expected(scenario)).findings)
    return found


def _broken(mutant: Mutant, folder: Path) -> Path:
    chart = folder / "lighthouse"
    shutil.copytree(CHART, chart)
    file = chart / mutant.file
    text = file.read_text(encoding="utf-8") if mutant.old else ""
    assert mutant.old in text, f"{mutant.file} no longer holds {mutant.old!r}: write the mutant anew"
    file.write_text(text.replace(mutant.old, mutant.new, 1) or mutant.new, encoding="utf-8")
    return chart


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.title)
def test_mutant_is_killed_by_its_check(
    mutant: Mutant, tmp_path: Path, sound: Render, renderer: Renderer, waivers: Waivers
) -> None:
    chart = _broken(mutant, tmp_path)
    new = _findings(renderer.render(_request(chart)), sound, waivers) - _findings(sound, sound, waivers)
    if mutant.check.startswith("network/"):
        new |= _network_findings(chart, renderer)
    assert mutant.check in {finding.check for finding in new}, sorted({finding.check for finding in new})


def test_the_sound_chart_opens_exactly_the_table(renderer: Renderer) -> None:
    assert _network_findings(CHART, renderer) == set()


def test_there_are_at_least_forty_mutants_of_many_checks() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.check for mutant in MUTANTS}) >= 25
