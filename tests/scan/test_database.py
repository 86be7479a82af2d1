"""Where there is a network, the vulnerability database comes from a registry and is judged like a given one."""

from __future__ import annotations

import datetime
import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from ci import toolchain
from ci.console import Failure, Steps
from ci.scan import database
from tests.ports import free_port
from tests.registry import push_artifact, serve_registry

from .conftest import LEAST, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.scan

LAYER = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
DAY = datetime.timedelta(days=1)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of a registry on loopback."""
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "registry").mkdir()
    with serve_registry(tmp_path / "registry", address):
        yield address


@pytest.fixture
def program() -> Path:
    """Trivy itself."""
    return toolchain.go_tool(toolchain.TRIVY, Steps(quiet=True)) / "trivy"


@pytest.fixture
def fetched(
    registry: str,
    program: Path,
    write_database: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Publishes a database of a day in the registry, and returns the folder into which it was fetched from there."""

    def fetch(updated: datetime.datetime = NOW) -> Path:
        folder = write_database(updated=updated)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name in ("trivy.db", "metadata.json"):
                archive.add(folder / name, name)
        push_artifact(registry, "trivy-db:2", LAYER, "db.tar.gz", packed.getvalue())
        monkeypatch.setenv("TRIVY_DB_REPOSITORY", f"{registry}/trivy-db:2")
        return database.download(program, tmp_path / "cache")

    return fetch


def test_database_of_a_registry_is_fetched_and_known(fetched: Callable[..., Path], lister: Path) -> None:
    known = database.check_database(lister, fetched(), DAY, LEAST, datetime.datetime.now(tz=datetime.UTC))
    assert known.entries > sum(LEAST.values())


def test_stale_database_of_a_registry_is_refused(fetched: Callable[..., Path], lister: Path) -> None:
    with pytest.raises(Failure, match="is 72 hours old and must be from 0 to 24"):
        database.check_database(lister, fetched(NOW - 3 * DAY), DAY, LEAST, NOW)


def test_registry_that_does_not_answer_is_named_with_the_ways_out(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TRIVY_DB_REPOSITORY", f"{address}/trivy-db:2")
    with pytest.raises(Failure) as refused:
        database.download(program, tmp_path / "cache")
    assert address in str(refused.value)
    assert "Without a network, give a mirrored database by DATABASE=folder" in str(refused.value)
