"""`pytest --chart` as a user runs it: in a process of its own, on a small chart, with report and JUnit file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

HARNESS = Path(__file__).resolve().parents[1]
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


def _run(chart: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--noconftest",
        "-p",
        "lighthouse_harness.plugin",
        "--chart",
        chart,
        *words,
    ]
    command += ["--kubernetes-version=1.36", "--helm-major=4", "--release-namespace=shop"]
    # Not every environment has the package installed, and other plugins only take time.
    env = os.environ | {"PYTHONPATH": str(HARNESS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        list(map(str, command)),
        cwd=chart.parent,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_sound_chart_passes_and_the_counts_are_told(chart: Path, tmp_path: Path) -> None:
    result = _run(chart, f"--junit-xml={tmp_path / 'junit.xml'}")
    assert result.returncode == 0, result.stdout
    assert "1 renders" in result.stdout
    assert "3 containers" in result.stdout
    cases = ElementTree.parse(tmp_path / "junit.xml").findall(".//testcase")  # noqa: S314 - our own file
    assert "test_gate[resources]" in {case.get("name") for case in cases}


def test_a_value_that_breaks_a_gate_is_reported_with_place_and_fix(chart: Path, tmp_path: Path) -> None:
    values = tmp_path / "moving.yaml"
    values.write_text("tag: latest\n", encoding="utf-8")
    result = _run(chart, "--values", values)
    assert result.returncode == 1
    assert "where: Deployment/shop/web spec.template.spec.containers[0].image" in result.stdout
    assert "is:    'registry.example/web:latest'" in result.stdout
    assert "fix:   use a version: latest moves" in result.stdout
    assert "FAILED" in result.stdout
    assert "test_gate[images]" in result.stdout


def test_a_waiver_excuses_a_finding_and_an_unused_one_fails(chart: Path, tmp_path: Path) -> None:
    values, waivers = tmp_path / "moving.yaml", tmp_path / "waivers.yaml"
    values.write_text("tag: latest\n", encoding="utf-8")
    needed = "- {check: image/tag, object: Deployment/shop/*, reason: a demonstration}\n"
    waivers.write_text(needed, encoding="utf-8")
    assert _run(chart, "--values", values, "--waivers", waivers).returncode == 0
    waivers.write_text(needed + "- {check: 'probe/*', object: '*', reason: old}\n", encoding="utf-8")
    result = _run(chart, "--values", values, "--waivers", waivers)
    assert result.returncode == 1
    assert "excuse nothing" in result.stdout


def test_a_chart_that_does_not_render_says_why_in_one_sentence(chart: Path) -> None:
    (chart / "templates" / "bad.yaml").write_text("{{ fail `set tag to a version` }}", encoding="utf-8")
    result = _run(chart)
    assert result.returncode == 1
    assert "does not render" in result.stdout
    assert "set tag to a version" in result.stdout


def test_a_folder_without_a_chart_is_named(tmp_path: Path) -> None:
    result = _run(tmp_path)
    assert result.returncode == 1
    assert "is not a chart: it has no Chart.yaml" in result.stdout
