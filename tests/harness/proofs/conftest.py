"""A small render in which nothing is wrong, for tests that then break one thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import Render, Request

if TYPE_CHECKING:
    from collections.abc import Callable

HARNESS = Path(__file__).resolve().parents[1]
SOUND = (Path(__file__).parent / "sound.yaml").read_text(encoding="utf-8")


@pytest.fixture(name="sound", scope="session")
def _sound() -> Render:
    """A web workload with everything that the gates ask for, in namespace `shop`."""
    return Render(Request(Path("shop"), namespace="shop", kubernetes="1.37.0"), read_objects(SOUND, "shop"))


@pytest.fixture(name="run_gates", scope="session")
def _run_gates() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `pytest --chart` in a process of its own, with the plugin named, whether or not it is installed."""

    def run(chart: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
        plugin = ["-p", "lighthouse_harness.plugin", "--noconftest"]
        command = [sys.executable, "-m", "pytest", *plugin, "--chart", str(chart), *map(str, words)]
        command += ["--helm-major=4", "--release-namespace=shop"]
        env = os.environ | {"PYTHONPATH": str(HARNESS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(
            command, cwd=chart.parent, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    return run
