"""A release names every image by digest, says what is in it, and shows when somebody changed it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from ci import images
from ci.bundle import archive
from ci.bundle.chart import WHOLE, images_of, version
from ci.console import Failure, run

from .conftest import ci, make_keys

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Keys, Release

pytestmark = pytest.mark.release


def rendered(helm: Path, release: Release) -> list[str]:
    manifests = run([helm / "helm", "template", "lighthouse", release.package, "-n", "lighthouse", *WHOLE])
    return images_of(manifests)


def verify_chart(helm: Path, package: Path, keys: Keys) -> None:
    run([helm / "helm", "verify", package, "--keyring", keys.public])


def verify_sums(folder: Path, keys: Keys) -> None:
    run(["gpgv", "--keyring", keys.public, folder / "SHA256SUMS.asc", folder / "SHA256SUMS"])
    run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder)


@pytest.mark.proves(27, level="running")
def test_every_image_is_named_by_the_digest_that_is_in_the_bundle(helm: Path, release: Release) -> None:
    digests = {name: archive.image_digest(release.bundle / "images" / name) for name in images.RELEASED}
    assert rendered(helm, release) == sorted(
        f"localhost/lighthouse/{name}@{digest}" for name, digest in digests.items()
    )


def test_annotations_name_the_images_of_the_render_and_the_changes(helm: Path, release: Release) -> None:
    metadata = yaml.safe_load(run([helm / "helm", "show", "chart", release.package]))
    annotated = yaml.safe_load(metadata["annotations"]["artifacthub.io/images"])
    assert sorted(one["image"] for one in annotated) == rendered(helm, release)
    assert {one["name"] for one in annotated} == set(images.RELEASED)
    assert yaml.safe_load(metadata["annotations"]["artifacthub.io/changes"])


def test_signatures_of_chart_and_files_verify(helm: Path, release: Release) -> None:
    verify_chart(helm, release.package, release.keys)
    for folder in (release.output, release.bundle):
        verify_sums(folder, release.keys)
    release.step("verify", {})


def test_every_file_is_in_the_checksums(release: Release) -> None:
    for folder in (release.output, release.bundle):
        listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        assert files - listed == {"SHA256SUMS", "SHA256SUMS.asc"}
        assert listed <= files


def test_tampered_chart_is_refused(helm: Path, release: Release, tmp_path: Path) -> None:
    for file in (release.package, release.package.with_name(f"{release.package.name}.prov")):
        shutil.copy2(file, tmp_path)
    tampered = tmp_path / release.package.name
    tampered.write_bytes(tampered.read_bytes() + b"\0")
    with pytest.raises(Failure, match=r"does not match"):
        verify_chart(helm, tampered, release.keys)


@pytest.mark.parametrize("name", ["provenance.json", "SHA256SUMS"])
def test_tampered_file_is_refused(name: str, release: Release, tmp_path: Path) -> None:
    folder = shutil.copytree(release.output, tmp_path / "tampered")
    (folder / name).write_text((folder / name).read_text() + "\n")
    with pytest.raises(Failure):
        verify_sums(folder, release.keys)


def test_signature_of_somebody_else_is_refused(helm: Path, release: Release, tmp_path: Path) -> None:
    other = make_keys(tmp_path)
    with pytest.raises(Failure):
        verify_chart(helm, release.package, other)
    with pytest.raises(Failure):
        verify_sums(release.output, other)


def test_bill_of_materials_lists_debian_and_python_packages(release: Release) -> None:
    for name in images.RELEASED:
        bill = json.loads((release.output / "sbom" / f"{name}.cdx.json").read_text())
        assert bill["bomFormat"] == "CycloneDX"
        kinds = {one.get("purl", "").partition("/")[0] for one in bill["components"]}
        assert {"pkg:deb", "pkg:pypi"} <= kinds, name


def test_provenance_names_package_images_and_locks(release: Release) -> None:
    statement = json.loads((release.output / "provenance.json").read_text())
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert subjects[f"lighthouse-{version()}.tgz"] == archive.sha256(release.package)
    assert set(subjects) == {release.package.name, *(f"lighthouse/{name}" for name in images.RELEASED)}
    materials = {one["uri"] for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]}
    assert "images/bridge/requirements.txt" in materials


def test_release_without_key_or_consent_is_refused(tmp_path: Path) -> None:
    done = ci("--output", tmp_path / "release")
    assert done.returncode == 1
    assert "A release is signed: give SIGN_KEYRING and SIGN_KEY, or UNSIGNED=1" in done.stderr
    assert not (tmp_path / "release").exists()


def test_second_release_of_the_same_commit_has_the_same_chart(release: Release, tmp_path: Path) -> None:
    done = ci("--unsigned", "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    again = tmp_path / "again" / release.package.name
    assert archive.sha256(again) == archive.sha256(release.package)
