"""Trivy is believed only when it shows that it could have found something."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ci.console import Failure
from ci.scan import canary
from ci.scan.database import check_database, download
from ci.scan.findings import Kind
from ci.scan.policy import judge, read_thresholds
from ci.scan.trivy import DEBIAN, GO, PYTHON, Expected, Trivy

from .conftest import ADVISORIES, GO_NET, LEAST, NOW, OPENSSL, POLICIES, PYYAML

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.scan

DAY = datetime.timedelta(days=1)
STATUS = "var/lib/dpkg/status"
ALL = Expected(packages=(DEBIAN, PYTHON, GO))


def without(*names: str) -> dict[str, Any]:
    return {name: bucket for name, bucket in ADVISORIES.items() if name not in names}


def test_missing_database_is_refused(lister: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"The vulnerability database has no .*trivy\.db: fetch it"):
        check_database(lister, tmp_path, DAY, LEAST, NOW)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"updated": NOW - 2 * DAY}, r"is 48 hours old and must be from 0 to 24"),
        ({"updated": NOW + DAY}, r"is -24 hours old and must be from 0 to 24"),
        ({"version": 1}, r"has schema 1 and must have 2"),
        ({"contents": {}}, rf"has 0 entries for 'debian 12' and must have {LEAST['debian 12']}"),
        (
            {"bare": True},
            rf"has 1 entries for 'debian 12' and must have {LEAST['debian 12']}, 1 entries for 'pip::'",
        ),
        ({"contents": without("debian 12")}, r"has 0 entries for 'debian 12'"),
        ({"contents": without("pip::GitHub Security Advisory Pip")}, r"has 0 entries for 'pip::'"),
        ({"contents": without("go::GitHub Security Advisory Go")}, r"has 0 entries for 'go::'"),
        ({"contents": without("vulnerability")}, r"has 0 entries for 'vulnerability'"),
    ],
    ids=[
        "stale",
        "from the future",
        "another schema",
        "empty",
        "one advisory each",
        "without Debian",
        "without Python",
        "without Go",
        "without severities",
    ],
)
def test_database_that_knows_too_little_is_refused(
    options: dict[str, Any], sentence: str, lister: Path, write_database: Callable[..., Path]
) -> None:
    with pytest.raises(Failure, match=sentence):
        check_database(lister, write_database(**options), DAY, LEAST, NOW)


def test_database_that_cannot_be_fetched_names_the_ways_without_a_network(
    trivy: Trivy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIVY_DB_REPOSITORY", "127.0.0.1:9/trivy-db:2")  # where nobody listens
    with pytest.raises(Failure, match=r"give a mirrored database by DATABASE=folder, or its OCI address by"):
        download(trivy.program, tmp_path / "cache")


def test_whole_database_is_accepted(lister: Path, write_database: Callable[..., Path]) -> None:
    assert check_database(lister, write_database(), DAY, LEAST, NOW).entries > sum(LEAST.values())


def test_planted_packages_and_secret_are_found_in_an_image(trivy: Trivy, tmp_path: Path) -> None:
    scan = trivy.image("canary", canary.write_layout(tmp_path / "image", canary.canary_files()), ALL)
    found = {(one.kind, one.check): one.subject for one in scan.findings}
    assert found == {
        (Kind.VULNERABILITY, OPENSSL): "openssl 3.0.0-1",
        (Kind.VULNERABILITY, PYYAML): "PyYAML 5.3",
        (Kind.VULNERABILITY, GO_NET): "golang.org/x/net v0.1.0",
        (Kind.SECRET, "aws-access-key-id"): "srv/canary.ini:1",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"etc/os-release": b"ID=plan9\nVERSION_ID=4\n", "etc/debian_version": None},
            "Trivy recognised none",
        ),
        (
            {"etc/os-release": b'ID=alpine\nVERSION_ID="3.20"\n', "etc/debian_version": None},
            "must be debian 12",
        ),
        ({STATUS: None}, "found no package of debian in it"),
        ({STATUS: b""}, "found no package of debian in it"),
        ({"METADATA": None}, "found no package of python-pkg in it"),
        ({"bin/canary": None}, "found no package of gobinary in it"),
    ],
    ids=[
        "unsupported system",
        "another system",
        "no package list",
        "zero packages",
        "no Python packages",
        "no Go modules",
    ],
)
def test_image_that_trivy_could_not_read_is_refused(
    changes: dict[str, bytes | None], sentence: str, trivy: Trivy, tmp_path: Path
) -> None:
    files = canary.canary_files()
    for name, content in changes.items():
        (key,) = [key for key in files if key.endswith(name)]
        files.pop(key)
        if content is not None:
            files[key] = content
    layout = canary.write_layout(tmp_path / "image", files)
    with pytest.raises(Failure, match=sentence):
        trivy.image("bridge", layout, ALL)


def test_packages_that_the_inventory_does_not_name_are_refused(trivy: Trivy, tmp_path: Path) -> None:
    layout = canary.write_layout(tmp_path / "image", canary.canary_files())
    with pytest.raises(
        Failure, match=r"holds packages of gobinary, which policies/scan/images\.yaml does not"
    ):
        trivy.image("bridge", layout, Expected(packages=(DEBIAN, PYTHON)))


def test_system_past_its_end_of_life_fails(trivy: Trivy, tmp_path: Path) -> None:
    files = canary.canary_files() | {
        "etc/os-release": b'ID=debian\nVERSION_ID="8"\n',
        "etc/debian_version": b"8.11\n",
    }
    old = replace(ALL, release="8")
    scan = trivy.image("bridge", canary.write_layout(tmp_path / "image", files), old)
    ended = [one for one in scan.findings if one.check == "end-of-life"]
    assert [one.subject for one in ended] == ["debian 8.11"]
    thresholds = read_thresholds(POLICIES / "thresholds.yaml")
    assert judge([replace(scan, findings=tuple(ended))], thresholds, [], NOW.date()).failing == tuple(ended)


def test_what_is_no_image_is_refused(trivy: Trivy, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"trivy --quiet --cache-dir.*ended with"):
        trivy.image("bridge", tmp_path)


def test_folder_without_files_is_refused(trivy: Trivy, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Failure, match=r"sources was not scanned for secrets: .* has no file"):
        trivy.secrets("sources", tmp_path / "empty")


def test_manifests_without_objects_are_refused(trivy: Trivy, tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    with pytest.raises(Failure, match="Trivy tried no check"):
        trivy.manifests("default", file)
