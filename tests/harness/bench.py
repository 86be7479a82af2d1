"""Compare the harness with helm-unittest: the same assertions on the same chart, one after the other.

Each assertion is a test of its own, as people write them. Wall times are of whole processes, start included;
the harness is timed with an empty cache and with a warm one. `HELM` and `HELM_UNITTEST` name the programs.

    python tests/harness/bench.py [CHART] [ASSERTIONS]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HARNESS = Path(__file__).resolve().parent
sys.path.insert(0, str(HARNESS))

import yaml  # noqa: E402 - the path comes first, so that the command needs no installation

from lighthouse_harness.documents import walk  # noqa: E402 - see above
from lighthouse_harness.model import Request  # noqa: E402 - see above
from lighthouse_harness.render import Renderer  # noqa: E402 - see above

RELEASE = {"name": "lighthouse", "namespace": "lighthouse"}
KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Service", "ServiceAccount", "Namespace")
TEST = """\
import json
from pathlib import Path
import pytest
from lighthouse_harness.model import Request

CASES = json.loads(Path({cases!r}).read_text())

@pytest.fixture(scope="session")
def render(renderer):
    return renderer.render(Request(Path({chart!r}), release="lighthouse", namespace="lighthouse"))

@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{{case['ref']}} {{case['path']}}")
def test_value(case, render):
    assert render.at(f"{{case['ref']}} {{case['path']}}") == case["value"]
"""


def cases(chart: Path, wanted: int) -> list[dict[str, Any]]:
    """Assertions on scalar values of the chart's default render, spread over its objects; no random ones."""
    with tempfile.TemporaryDirectory() as cache:
        render = Renderer(Path(cache)).render(Request(chart, release="lighthouse", namespace="lighthouse"))
    found = [
        {"ref": item.ref, "name": item.name, "source": item.source, "path": path, "value": value}
        for item in render.select(*KINDS)
        for path, value in walk(item.document)
        if isinstance(value, (str, int, bool)) and "checksum" not in path and "$" not in str(value)
    ]
    step = max(1, len(found) // wanted)
    return found[::step][:wanted]


def _suites(chart: Path, chosen: list[dict[str, Any]], folder: Path, *, grouped: bool) -> None:
    """Write the assertions as helm-unittest's suites, one a template; `grouped` makes one test an object."""
    prefix = f"{yaml.safe_load((chart / 'Chart.yaml').read_text(encoding='utf-8'))['name']}/"
    by_source: dict[str, list[dict[str, Any]]] = {}
    for case in chosen:
        by_source.setdefault(case["source"].removeprefix(prefix), []).append(case)
    folder.mkdir(exist_ok=True)
    for number, (source, entries) in enumerate(by_source.items()):
        tests: dict[str, dict[str, Any]] = {}
        for case in entries:
            title = case["ref"] if grouped else f"{case['ref']} {case['path']}"
            selector = {"path": "metadata.name", "value": case["name"]}
            test = tests.setdefault(title, {"it": title, "documentSelector": selector, "asserts": []})
            test["asserts"].append({"equal": {"path": case["path"], "value": case["value"]}})
        suite = {"suite": source, "templates": [source], "release": RELEASE, "tests": list(tests.values())}
        (folder / f"suite{number}_test.yaml").write_text(
            yaml.safe_dump(suite, sort_keys=False), encoding="utf-8"
        )


def _timed(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[float, str]:
    start = time.perf_counter()
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if result.returncode:
        raise SystemExit(f"{command[0]} failed:\n{result.stdout[-3000:]}{result.stderr[-2000:]}")
    return seconds, result.stdout


def main() -> None:
    """Run both, and print what each took."""
    chart = Path(sys.argv[1] if len(sys.argv) > 1 else HARNESS.parents[1] / "charts" / "lighthouse").resolve()
    wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    unittest = os.environ.get("HELM_UNITTEST") or shutil.which("helm-unittest")
    if not unittest:
        raise SystemExit(
            "helm-unittest is missing; build ci/tools/helm-unittest and name it in HELM_UNITTEST."
        )
    chosen = cases(chart, wanted)
    with tempfile.TemporaryDirectory(prefix="lighthouse-bench-") as name:
        folder = Path(name)
        copy = folder / "chart"
        shutil.copytree(chart, copy)
        _suites(chart, chosen, copy / "tests", grouped=True)
        grouped, _ = _timed([unittest, "--file", "tests/*_test.yaml", str(copy)], folder, dict(os.environ))
        _suites(chart, chosen, copy / "tests", grouped=False)
        theirs, told = _timed([unittest, "--file", "tests/*_test.yaml", str(copy)], folder, dict(os.environ))
        if f"Tests:       {len(chosen)} passed" not in told:
            raise SystemExit(f"helm-unittest did not run {len(chosen)} tests:\n{told[-2000:]}")
        listed = folder / "cases.json"
        listed.write_text(json.dumps(chosen), encoding="utf-8")
        (folder / "test_values.py").write_text(
            TEST.format(cases=str(listed), chart=str(chart)), encoding="utf-8"
        )
        env = os.environ | {
            "PYTHONPATH": str(HARNESS),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "LIGHTHOUSE_HARNESS_CACHE": str(folder / "cache"),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "lighthouse_harness.plugin", "test_values.py"]
        cold, told = _timed(command, folder, env)
        warm, _ = _timed(command, folder, env)
    if f"{len(chosen)} passed" not in told:
        raise SystemExit(f"pytest did not run {len(chosen)} tests:\n{told[-2000:]}")
    rows = {
        "helm-unittest": theirs,
        "the same, a test an object": grouped,
        "harness, empty cache": cold,
        "harness, warm cache": warm,
    }
    sys.stdout.write(f"{len(chosen)} assertions on {chart.name}, each a test of its own\n")
    for label, seconds in rows.items():
        rate = len(chosen) / seconds
        sys.stdout.write(
            f"  {label:<26} {seconds:6.2f} s  {rate:7.0f} assertions/s  {theirs / seconds:5.1f} x\n"
        )


if __name__ == "__main__":
    main()
