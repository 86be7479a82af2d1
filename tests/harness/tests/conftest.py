"""A small render in which nothing is wrong, for tests that then break one thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import Render, Request

SOUND = (Path(__file__).parent / "sound.yaml").read_text(encoding="utf-8")


@pytest.fixture(name="sound", scope="session")
def _sound() -> Render:
    """A web workload with everything that the gates ask for, in namespace `shop`."""
    return Render(Request(Path("shop"), namespace="shop", kubernetes="1.37.0"), read_objects(SOUND, "shop"))
