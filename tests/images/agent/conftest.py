"""Fixtures of the agent's tests: a bridge for reading, and one of its own for tests that change or stop it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from images.agent.support import Bridge, RawServer


@pytest.fixture(scope="session")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """One running bridge; tests must not depend on its tree or stop it."""
    bridge = Bridge(tmp_path_factory.mktemp("bridge") / "state")
    bridge.prepare()
    with bridge.running():
        yield bridge


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    """A running bridge with an empty tree, for this test alone."""
    own = Bridge(tmp_path / "bridge")
    own.prepare()
    with own.running():
        yield own


@pytest.fixture
def raw_server() -> Iterator[Callable[[Mapping[str, Any]], RawServer]]:
    """Starts servers that answer as scripted, and stops them."""
    servers: list[RawServer] = []

    def start(script: Mapping[str, Any]) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
