"""`make scan` as a whole: it passes on what is ours, and fails closed when a scanner is blind."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from ci import images
from ci.console import run
from ci.scan import canary, policy, targets
from ci.settings import ROOT

from .conftest import ADVISORIES, OPENSSL, advisory_service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.scan


def error(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """The sentence of a scan that failed; make has its own exit code, 2."""
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


OF_SSL = {"agent", "bridge", "fuse-csi", "redis", "redis-keeper"}
"""Images with libssl3: those with Python, and Redis, which speaks TLS."""


@pytest.mark.proves(27, level="running")
def test_everything_of_ours_passes(
    write_database: Callable[..., Path], advisories: str, tmp_path: Path
) -> None:
    words = [f"DATABASE={write_database()}", f"OSV_URL={advisories}", f"REPORTS={tmp_path / 'reports'}"]
    done = subprocess.run(["make", "scan", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    suite = ElementTree.parse(tmp_path / "reports" / "scan.xml").getroot()  # noqa: S314 - our own
    names = {case.get("name") for case in suite.iter("testcase")}
    assert {*images.RELEASED, "default", "pooler", "sources", "ci/requirements.txt"} <= names
    accepted = [
        result
        for one in json.loads((tmp_path / "reports" / "scan.sarif").read_text())["runs"]
        for result in one["results"]
        if "suppressions" in result
    ]
    assert accepted


def test_vulnerable_package_in_an_image_of_ours_is_found(
    scan: Callable[..., subprocess.CompletedProcess[str]], write_database: Callable[..., Path]
) -> None:
    unfixed: dict[str, Any] = ADVISORIES | {"debian 12": {"openssl": {OPENSSL: {"FixedVersion": "99"}}}}
    done = scan("--only", "images", "--database", write_database(unfixed))
    assert "The scan failed" in error(done)
    found = re.findall(
        rf"^(\S+): libssl3 \S+: {OPENSSL} \(critical, fixed in 99\)", done.stdout, re.MULTILINE
    )
    assert found == [name for name in sorted(images.RELEASED) if name in OF_SSL]


@pytest.mark.proves(27, level="running")
def test_planted_secret_and_manifest_fail_the_scan_by_name(tmp_path: Path) -> None:
    tree = targets.copy_sources(tmp_path / "tree")
    run(["git", "init", "--quiet"], cwd=tree)
    (tree / "docs" / "planted.ini").write_text(canary.secret_file())
    (tree / "charts" / "lighthouse" / "templates" / "planted.yaml").write_text(canary.MANIFEST)
    words = ["ONLY=sources manifests", f"REPORTS={tmp_path / 'reports'}"]
    done = subprocess.run(["make", "scan", *words], cwd=tree, capture_output=True, text=True, check=False)
    assert "The scan failed" in error(done, 2)
    assert f"sources: docs/planted.ini:1: {canary.SECRET_RULE} (critical)" in done.stdout
    for rule in canary.PRIVILEGED_RULES.values():
        assert f"default: Pod.canary.canary: {rule} (" in done.stdout
    assert "The image example.com/canary:1.0.0 is neither scanned nor excused" in done.stdout


@pytest.mark.parametrize(
    ("kind", "variables", "missed"),
    [
        ("sources", {"TRIVY_SEVERITY": "LOW"}, "trivy did not find a key in canary.ini"),
        ("manifests", {"TRIVY_SEVERITY": "LOW"}, "trivy did not find a privileged pod"),
        ("manifests", {"CKV_SKIP_CHECK": "CKV_K8S_16"}, "checkov did not find a privileged pod"),
    ],
    ids=["Trivy's secrets", "Trivy's manifests", "checkov"],
)
def test_scanner_that_a_setting_made_blind_is_not_believed(
    kind: str, variables: dict[str, str], missed: str, scan: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert f"{missed} in its canary" in error(scan("--only", kind, **variables))


def test_image_scanner_that_misses_its_canary_is_not_believed(
    scan: Callable[..., subprocess.CompletedProcess[str]], write_database: Callable[..., Path]
) -> None:
    blind: dict[str, Any] = ADVISORIES | {"debian 12": {"bash": {OPENSSL: {"FixedVersion": "99"}}}}
    done = scan("--only", "images", "--database", write_database(blind))
    assert "trivy did not find openssl 3.0.0-1 in its canary" in error(done)


def test_lock_scanner_that_misses_its_canary_is_not_believed(
    scan: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with advisory_service({}) as address:
        done = scan("--only", "locks", "--osv-url", address)
    assert "pip-audit did not find pyyaml 5.3 in its canary" in error(done)


def test_missing_database_is_one_sentence(
    scan: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    assert "The vulnerability database has no" in error(scan("--only", "images", "--database", tmp_path))


def test_expired_exception_fails_the_scan(
    scan: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    for file in (ROOT / "policies" / "scan").iterdir():
        (policies / file.name).write_text(file.read_text().replace("2027-11-30", "2025-11-30"))
    assert policy.read_exceptions(policies / "exceptions.yaml")
    done = scan("--only", "manifests", "--policies", policies)
    assert "The scan failed" in error(done)
    assert "ended on 2025-11-30: security has to judge it anew." in done.stdout
