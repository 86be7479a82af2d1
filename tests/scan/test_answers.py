"""A scanner whose answer cannot be read, or says that it looked at nothing, is not believed. Needs no scanner."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ci.console import Failure
from ci.scan import canary
from ci.scan.advisories import PipAudit
from ci.scan.checkov import Checkov
from ci.scan.trivy import Trivy

from .conftest import said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SYSTEM = {"Family": "debian", "Name": "12.9"}
PACKAGES = [{"Name": "libc6", "Version": "2.36"}]


@pytest.mark.parametrize("answer", ["", "no report", "[]", '{"Results": 3}', '{"Results": [{"Target": 1}]}'])
@pytest.mark.parametrize("kind", ["image", "secrets", "manifests"])
def test_unreadable_report_of_trivy_is_refused(kind: str, answer: str, tmp_path: Path) -> None:
    program = said(tmp_path / "trivy", answer)
    file = tmp_path / "manifest.yaml"
    file.write_text(canary.MANIFEST)
    trivy = Trivy(program, tmp_path)
    asked: dict[str, Callable[[], object]] = {
        "image": lambda: trivy.image("bridge", tmp_path),
        "secrets": lambda: trivy.secrets("sources", tmp_path),
        "manifests": lambda: trivy.manifests("default", file),
    }
    with pytest.raises(Failure, match=r"gave no report that can be read: .* Pin a Trivy that does"):
        asked[kind]()


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ({}, "Trivy recognised none"),
        ({"Metadata": {"OS": SYSTEM}}, "found no package of debian and python-pkg in it"),
        (
            {
                "Metadata": {"OS": SYSTEM},
                "Results": [{"Target": "os", "Type": "debian", "Packages": PACKAGES}],
            },
            "found no package of python-pkg in it",
        ),
    ],
    ids=["nothing", "no packages", "no Python packages"],
)
def test_report_of_trivy_that_saw_too_little_is_refused(
    report: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(Failure, match=sentence):
        Trivy(said(tmp_path / "trivy", json.dumps(report)), tmp_path).image("bridge", tmp_path)


@pytest.mark.parametrize("answer", ["", "no report", "[]", "{}", '{"results": null}', '{"results": {}}'])
def test_unreadable_report_of_checkov_is_refused(answer: str, tmp_path: Path) -> None:
    file = tmp_path / "manifest.yaml"
    file.write_text(canary.MANIFEST)
    with pytest.raises(Failure, match=r"checkov gave no report on default: "):
        Checkov(said(tmp_path / "python", answer), tmp_path).manifests({"default": file})


@pytest.mark.parametrize("answer", ["", "no report", "[]", "{}"])
def test_unreadable_report_of_pip_audit_is_refused(answer: str, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(canary.LOCK)
    with pytest.raises(Failure, match="pip-audit gave no report"):
        PipAudit(said(tmp_path / "python", answer)).lock("canary", lock)
