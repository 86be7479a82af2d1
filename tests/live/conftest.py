"""Fixtures of the live tests: the running local cluster and a real source tree in its bridge."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ci.console import Steps
from ci.release import Cluster, load, role_key
from ci.settings import KUBECONFIG, NAMESPACE, RELEASE, ROOT
from ci.toolchain import helm_and_kubectl
from tests.live.support import Bridge, Container, agent

if TYPE_CHECKING:
    from collections.abc import Iterator

MINIMUM_FILES = 2000


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make test-replicas` tells its tests."""
    parser.addoption("--stores-image", help="The image with PostgreSQL and Redis, which the nodes have.")


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The local cluster."""
    if not KUBECONFIG.exists():
        pytest.fail("No cluster runs: start one with 'make up', or run 'make test'.", pytrace=False)
    return Cluster(helm_and_kubectl(Steps(quiet=True)), KUBECONFIG)


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Bridge]:
    """The bridge with an operator's session."""
    bridge = Bridge(cluster, "operator", "live-operator")
    yield bridge
    bridge.close()


@pytest.fixture(scope="session")
def builder(cluster: Cluster) -> Iterator[Bridge]:
    """The bridge with a builder's session."""
    bridge = Bridge(cluster, "builder", "live-builder")
    yield bridge
    bridge.close()


@pytest.fixture
def expert(cluster: Cluster) -> Container:
    """The agent container of the security expert."""
    return agent(cluster)


@pytest.fixture
def sidecar(cluster: Cluster) -> Container:
    """The FUSE sidecar of the security expert."""
    return agent(cluster, container="fuse")


@pytest.fixture(scope="session")
def project(cluster: Cluster, operator: Bridge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of at least 2,000 real files that the bridge holds; afterwards it holds this repository again."""
    tree = tmp_path_factory.mktemp("project")
    packages = Path(sysconfig.get_path("purelib"))
    copied = 0
    for source in sorted(packages.rglob("*.py*")):
        if source.is_file() and "__pycache__" not in source.parts:
            target = tree / "packages" / source.relative_to(packages)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied += 1
        if copied > MINIMUM_FILES + 500:
            break
    shutil.copytree(ROOT / "images", tree / "images", ignore=shutil.ignore_patterns("__pycache__"))
    (tree / "run.sh").write_text("#!/bin/sh\necho run\n")
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("run.sh")
    (tree / "empty").touch()
    (tree / "blob.bin").write_bytes(os.urandom(3_000_001))
    (tree / "übung ☂.txt").write_text("Grüße\n")
    assert sum(1 for path in tree.rglob("*") if path.is_file()) >= MINIMUM_FILES
    with role_key(cluster, RELEASE, NAMESPACE, "operator") as key:
        load(operator.url, key, tree)
        yield tree
        load(operator.url, key, ROOT)
