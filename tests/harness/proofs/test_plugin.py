"""`pytest --chart` as a user runs it: in a process of its own, on a small chart, with report and JUnit file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    RunGates = Callable[..., subprocess.CompletedProcess[str]]

SOUND = (Path(__file__).parent / "sound.yaml").read_text(encoding="utf-8")


@pytest.fixture(name="chart")
def _chart(tmp_path: Path) -> Path:
    """A chart that renders the sound objects and has one value."""
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}\n", encoding="utf-8")
    (chart / "values.yaml").write_text("tag: 1.4.2\n", encoding="utf-8")
    text = SOUND.replace("registry.example/web:1.4.2", "registry.example/web:{{ .Values.tag }}")
    (chart / "templates" / "all.yaml").write_text(text, encoding="utf-8")
    return chart


def test_a_sound_chart_passes_and_the_counts_are_told(
    chart: Path, tmp_path: Path, run_gates: RunGates
) -> None:
    result = run_gates(chart, "--kubernetes-version=1.36", f"--junit-xml={tmp_path / 'junit.xml'}")
    assert result.returncode == 0, result.stdout
    assert "1 renders" in result.stdout
    assert "3 containers" in result.stdout
    cases = ElementTree.parse(tmp_path / "junit.xml").findall(".//testcase")  # noqa: S314 - our own file
    assert "test_gate[resources]" in {case.get("name") for case in cases}


def test_a_value_that_breaks_a_gate_is_reported_with_place_and_fix(
    chart: Path, tmp_path: Path, run_gates: RunGates
) -> None:
    values = tmp_path / "moving.yaml"
    values.write_text("tag: latest\n", encoding="utf-8")
    result = run_gates(chart, "--kubernetes-version=1.36", "--values", values)
    assert result.returncode == 1
    assert "where: Deployment/shop/web spec.template.spec.containers[0].image" in result.stdout
    assert "is:    'registry.example/web:latest'" in result.stdout
    assert "fix:   use a version: latest moves" in result.stdout
    assert "FAILED" in result.stdout
    assert "test_gate[images]" in result.stdout


def test_a_waiver_excuses_a_finding_and_an_unused_one_fails(
    chart: Path, tmp_path: Path, run_gates: RunGates
) -> None:
    values, waivers = tmp_path / "moving.yaml", tmp_path / "waivers.yaml"
    values.write_text("tag: latest\n", encoding="utf-8")
    needed = "- {check: image/tag, object: Deployment/shop/*, reason: a demonstration}\n"
    waivers.write_text(needed, encoding="utf-8")
    assert (
        run_gates(chart, "--kubernetes-version=1.36", "--values", values, "--waivers", waivers).returncode
        == 0
    )
    waivers.write_text(needed + "- {check: 'probe/*', object: '*', reason: old}\n", encoding="utf-8")
    result = run_gates(chart, "--kubernetes-version=1.36", "--values", values, "--waivers", waivers)
    assert result.returncode == 1
    assert "excuse nothing" in result.stdout


def test_a_chart_that_does_not_render_says_why_in_one_sentence(chart: Path, run_gates: RunGates) -> None:
    (chart / "templates" / "bad.yaml").write_text("{{ fail `set tag to a version` }}", encoding="utf-8")
    result = run_gates(chart, "--kubernetes-version=1.36")
    assert result.returncode == 1
    assert "does not render" in result.stdout
    assert "set tag to a version" in result.stdout


def test_a_folder_without_a_chart_is_named(tmp_path: Path, run_gates: RunGates) -> None:
    result = run_gates(tmp_path, "--kubernetes-version=1.36")
    assert result.returncode == 1
    assert "is not a chart: it has no Chart.yaml" in result.stdout
