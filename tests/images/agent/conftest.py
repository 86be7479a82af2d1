"""Fixtures of the agent's tests: a shared bridge, and one for each test that changes or stops it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.images.agent.commands import reaching
from tests.images.agent.support import KEYS, Bridge, RawServer, clean_env, post


@pytest.fixture(scope="session")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    """One running bridge for the tests that do not stop it."""
    running = Bridge(tmp_path_factory.mktemp("bridge") / "state")
    running.prepare()
    with running.running():
        yield running


@pytest.fixture
def bridge(shared_bridge: Bridge) -> Bridge:
    """A running bridge with an empty tree."""
    paths = [row[0] for row in shared_bridge.ask("/shadow/tree")["files"]]
    for start in range(0, len(paths), 1000):
        updates = [{"operation": "delete", "file_path": path} for path in paths[start : start + 1000]]
        body = {"agent_id": "tester", "updates": updates}
        post(shared_bridge.url + "/shadow/updates", body, shared_bridge.session("operator"))
    return shared_bridge


@pytest.fixture
def stopped_bridge(tmp_path: Path) -> Bridge:
    """A bridge of this test's own, ready to be started."""
    own = Bridge(tmp_path / "bridge")
    own.prepare()
    return own


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


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Settings of a hook with its key and a private run-time folder; the bridge's address is missing."""
    (tmp_path / "key").write_text(KEYS["builder"] + "\n")
    (tmp_path / "run").mkdir(mode=0o700)
    return clean_env(LIGHTHOUSE_KEY_FILE=str(tmp_path / "key"), XDG_RUNTIME_DIR=str(tmp_path / "run"))


@pytest.fixture
def person(env: dict[str, str], shared_bridge: Bridge) -> dict[str, str]:
    """An operator's environment."""
    return reaching(env, shared_bridge, "operator", "olga")


@pytest.fixture
def developer(env: dict[str, str], shared_bridge: Bridge) -> dict[str, str]:
    """A builder's environment."""
    return reaching(env, shared_bridge, "builder", "ben")
