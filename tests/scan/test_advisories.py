"""pip-audit is believed only when every locked package was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ci.console import Failure
from ci.scan import canary, targets
from ci.scan.advisories import PipAudit

from .conftest import advisory_service

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.scan


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with one vulnerable package."""
    file = tmp_path / "requirements.txt"
    file.write_text(canary.LOCK)
    return file


def test_planted_package_is_found_with_its_fix(pip_audit: PipAudit, lock: Path) -> None:
    scan = pip_audit.lock("canary", lock)
    assert [(one.check, one.subject, one.fixed) for one in scan.findings] == [
        ("PYSEC-2021-142", "pyyaml 5.3", "5.4")
    ]


def test_every_package_of_our_locks_is_asked_about(pip_audit: PipAudit) -> None:
    locks = targets.locks()
    assert {"ci/requirements.txt", "images/bridge/requirements.txt"} <= set(locks)
    name = "images/bridge/requirements.txt"
    assert pip_audit.lock(name, locks[name]).examined == locks[name].read_text().count("==")


def test_service_out_of_reach_is_refused_in_a_sentence(python: Path, lock: Path) -> None:
    with pytest.raises(Failure, match=r"was not scanned, .* name a mirror of OSV's API by OSV_URL\."):
        PipAudit(python, "http://127.0.0.1:9/v1/query").lock("canary", lock)


def test_service_that_fails_is_refused(python: Path, lock: Path) -> None:
    with advisory_service({}, status=500) as address, pytest.raises(Failure, match="was not scanned"):
        PipAudit(python, address).lock("canary", lock)


def test_lock_without_packages_is_refused(pip_audit: PipAudit, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# nothing\n")
    with pytest.raises(Failure, match="pins no package"):
        pip_audit.lock("empty", file)


def test_lock_without_hashes_is_refused(pip_audit: PipAudit, tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("pyyaml==5.3\n")
    with pytest.raises(Failure, match="was not scanned"):
        pip_audit.lock("unhashed", file)
