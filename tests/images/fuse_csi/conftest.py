"""One node, bridge and pod for tests that only look; fresh ones for tests that break things."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.images.fuse_csi.machine import Node, Pod
from tests.images.fuse_csi.support import BridgeProgram, folder, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES = 2000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mounting needs root and the device; all else here needs nothing."""
    reason = ""
    if os.geteuid() != 0:
        reason = "mounting FUSE needs root; run the tests as root"
    elif not Path("/dev/fuse").is_char_device():
        reason = "/dev/fuse is missing; load the fuse module"
    for item in items:
        if reason and Path(__file__).parent in item.path.parents and item.path.name != "test_parts.py":
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A folder for everything that the session runs."""
    with folder() as path:
        yield path


@pytest.fixture(scope="session")
def tree() -> dict[str, bytes]:
    """At least 2,000 real files."""
    files = sources(FILES)
    if len(files) < FILES:
        more = sources(FILES - len(files), Path("/usr/include"))
        files.update({f"include/{path}": content for path, content in more.items()})
    assert len(files) >= FILES
    return files


@pytest.fixture(scope="session")
def bridge(place: Path, tree: dict[str, bytes]) -> Iterator[BridgeProgram]:
    """The real bridge with the tree loaded."""
    program = BridgeProgram(place / "bridge")
    try:
        program.load({f"src/{path}": content for path, content in tree.items()})
        yield program
    finally:
        program.stop()


@pytest.fixture(scope="session")
def node(place: Path) -> Iterator[Node]:
    """A node with the driver."""
    (place / "node").mkdir()
    each = Node(place / "node", abort_seconds=10)
    try:
        each.register()
        yield each
    finally:
        each.close()


@pytest.fixture
def make_pod(node: Node, bridge: BridgeProgram) -> Iterator[Callable[..., Pod]]:
    """Makes pods that are closed after the test."""
    pods: list[Pod] = []

    def make(url: str = "", **settings: str) -> Pod:
        pods.append(Pod(node, url or bridge.url, bridge.keys / "expert", **settings))
        return pods[-1]

    yield make
    for each in pods:
        each.close()


@pytest.fixture(scope="session")
def pod(node: Node, bridge: BridgeProgram) -> Iterator[Pod]:
    """A running pod."""
    each = Pod(node, bridge.url, bridge.keys / "expert")
    try:
        yield each.start()
    finally:
        each.close()


@pytest.fixture
def own_node() -> Iterator[Node]:
    """A node whose driver the test may end."""
    with folder() as path:
        each = Node(path, abort_seconds=2)
        try:
            yield each
        finally:
            each.close()
