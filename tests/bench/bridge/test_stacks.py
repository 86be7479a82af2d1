"""Samples of stacks are counted for the module that was at work."""

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.bridge.stacks import Sampler, by_module


def test_a_sample_counts_for_the_innermost_module_of_the_package() -> None:
    lines = [
        "serve (/lib/server.py:1);handle (/x/bridge/api/validate.py:7);dumps (/lib/json.py:9) 30",
        "serve (/lib/server.py:1);handle (/x/bridge/entrance.py:7);check (/x/bridge/limits.py:2) 50",
        "serve (/lib/server.py:1);select (/lib/selectors.py:3) 15",
        "clone3 5",
    ]
    assert by_module(lines, "bridge") == {
        "limits": 0.5,
        "api/validate": 0.3,
        "(selectors.py)": 0.15,
        "(other)": 0.05,
    }


def test_a_running_program_is_sampled(tmp_path: Path) -> None:
    package = tmp_path / "busy"
    package.mkdir()
    (package / "__main__.py").write_text("from busy import spinning\nspinning.spin()\n")
    (package / "spinning.py").write_text("def spin():\n    while True:\n        sum(range(100))\n")
    process = subprocess.Popen([sys.executable, "-m", "busy"], cwd=tmp_path)
    try:
        with Sampler(process.pid, tmp_path / "stacks") as sampler:
            time.sleep(2)
    finally:
        process.kill()
        process.wait()
    assert sampler.shares("busy")["spinning"] > 0.5
