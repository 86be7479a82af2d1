"""Fixtures of the bridge's tests: one bridge shared by those that leave it running, and one of a test's own."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.images.bridge.postgres import Postgres, postgres_server
from tests.images.bridge.support import Agent, Bridge, running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that is shared; each bridge that asks gets a database of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.heavy)])
def bridge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """A running bridge that is shared, on each engine."""
    server = None
    if request.param == "postgres":
        server = request.getfixturevalue("postgres").create_database()
    with running(Bridge(tmp_path_factory.mktemp("bridge") / "state", postgres=server)) as shared:
        yield shared


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    """Starts a bridge of the test's own, with further environment variables."""
    count = itertools.count()
    with ExitStack() as stack:

        def start(postgres: Postgres | None = None, **env: str) -> Bridge:
            folder = tmp_path / f"state-{next(count)}"
            return stack.enter_context(running(Bridge(folder, env, postgres)))

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
