"""Fixtures of the bridge's tests: one bridge shared by those that leave it running, and one of a test's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.images.bridge.support import Agent, Bridge, running


@pytest.fixture(scope="session")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A running bridge that is shared."""
    with running(Bridge(tmp_path_factory.mktemp("bridge") / "state")) as shared:
        yield shared


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    """Starts a bridge of the test's own, with further environment variables."""
    with ExitStack() as stack:

        def start(**env: str) -> Bridge:
            return stack.enter_context(running(Bridge(tmp_path / "state", **env)))

        yield start


@pytest.fixture
def expert(bridge: Bridge) -> Agent:
    return bridge.join("expert")


@pytest.fixture
def builder(bridge: Bridge) -> Agent:
    return bridge.join("builder")


@pytest.fixture
def operator(bridge: Bridge) -> Agent:
    return bridge.join("operator")
