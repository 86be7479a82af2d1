"""A release names every image by digest, says what is in it, and shows when somebody changed it."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest
import yaml

from ci import images
from ci.bundle import archive
from ci.bundle.chart import CHANGES, WHOLE, version
from ci.bundle.signing import Key
from ci.console import Failure, run
from ci.scan import targets
from ci.scan.inventory import images_of, read_inventory, repository
from ci.settings import ROOT

from .conftest import SIGNER, ci, make_keys

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


def test_every_image_is_named_by_the_digest_that_is_in_the_bundle(helm: Path, release: Release) -> None:
    digests = {name: archive.image_digest(release.bundle / "images" / name) for name in images.RELEASED}
    assert rendered(helm, release) == sorted(
        f"localhost/lighthouse/{name}@{digest}" for name, digest in digests.items()
    )


def test_annotations_name_the_images_of_the_render_and_the_changes(
    helm: Path, tree: Path, release: Release
) -> None:
    metadata = yaml.safe_load(run([helm / "helm", "show", "chart", release.package]))
    annotated = yaml.safe_load(metadata["annotations"]["artifacthub.io/images"])
    assert sorted(one["image"] for one in annotated) == rendered(helm, release)
    assert {one["name"] for one in annotated} == set(images.RELEASED)
    changes = ["git", "log", f"--max-count={CHANGES}", "--no-merges", "--format=%s", "--", "."]
    assert metadata["annotations"].keys() == {
        "artifacthub.io/images",
        "artifacthub.io/changes",
        "artifacthub.io/prerelease",
    }
    listed = yaml.safe_load(metadata["annotations"]["artifacthub.io/changes"])
    assert listed == run(changes, cwd=tree).splitlines()
    assert metadata["annotations"]["artifacthub.io/prerelease"] == str(version().startswith("0.")).lower()


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


def listed_packages(layout: Path) -> dict[str, set[str]]:
    """What an image says of itself, by kind: Debian's names in status.d, Python's in the packages' metadata."""
    found: dict[str, set[str]] = {"pkg:deb": set(), "pkg:pypi": set()}
    blobs = layout / "blobs" / "sha256"
    manifest = json.loads((blobs / archive.image_digest(layout).removeprefix("sha256:")).read_text())
    for layer in manifest["layers"]:
        with tarfile.open(blobs / layer["digest"].removeprefix("sha256:")) as content:
            for entry in content:
                folder, _, name = entry.name.rpartition("/")
                if folder.endswith("var/lib/dpkg/status.d") and entry.isfile():
                    found["pkg:deb"].add(name)
                if name == "METADATA" and folder.endswith(".dist-info"):
                    package = folder.rpartition("/")[2].partition("-")[0]
                    found["pkg:pypi"].add(re.sub(r"[-_.]+", "-", package).lower())
    return {kind: names for kind, names in found.items() if names}


KINDS = {"debian": "pkg:deb", "python-pkg": "pkg:pypi", "gobinary": "pkg:golang"}


@pytest.mark.parametrize("name", images.RELEASED)
def test_bill_of_materials_lists_what_the_image_says_it_holds(name: str, release: Release) -> None:
    bill = json.loads((release.output / "sbom" / f"{name}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed: dict[str, set[str]] = {}
    for one in bill["components"]:
        kind, _, rest = one.get("purl", "").partition("/")
        if kind:
            package = unquote(rest.partition("@")[0]).removeprefix("debian/")
            plain = re.sub(r"[-_.]+", "-", package).lower() if kind == "pkg:pypi" else package
            listed.setdefault(kind, set()).add(plain)
    expected = read_inventory(ROOT / "policies" / "scan" / "images.yaml").ours[name]
    assert set(listed) == {KINDS[kind] for kind in expected}
    held = listed_packages(release.bundle / "images" / name)
    assert {kind: listed[kind] for kind in held} == held


def test_every_render_names_our_images_by_digest(helm: Path, release: Release, tmp_path: Path) -> None:
    renders = targets.render(helm / "helm", tmp_path, release.package)
    named = {image for file in renders.values() for image in images_of(file.read_text())}
    ours = {image for image in named if "/lighthouse/" in image}
    assert {repository(image).rpartition("/")[2] for image in ours} == set(images.RELEASED)
    assert sorted(image for image in ours if "@sha256:" not in image) == []


def test_each_image_of_the_bundle_says_its_commit_beside_its_digest(tree: Path, release: Release) -> None:
    commit = run(["git", "rev-parse", "HEAD"], cwd=tree).strip()
    for name in images.RELEASED:
        (described,) = json.loads((release.bundle / "images" / name / "index.json").read_text())["manifests"]
        assert described["annotations"] == {
            "io.containerd.image.name": f"localhost/lighthouse/{name}@{described['digest']}",
            "org.opencontainers.image.revision": commit,
        }


def test_instructions_name_what_the_bundle_lacks_and_the_programs_they_call(release: Release) -> None:
    text = (release.bundle / "LOAD.md").read_text()
    assert "{{" not in text
    others = read_inventory(ROOT / "policies" / "scan" / "images.yaml").others
    assert [one.repository for one in others if f"- `{one.repository}`" not in text] == []
    needed = text[text.index("Bring ") : text.index("None of them is in here.")]
    commands = "".join(re.findall(r"^```sh.*?\n(.*?)^```", text, re.M | re.S))
    called = set(re.findall(r"(?:^|\| |do\n) *([a-z][a-z0-9]+) ", commands, re.MULTILINE))
    standard = {"for", "done", "touch", "sed", "do"}  # of every POSIX shell
    assert {"helm", "kubectl", "crane", "ctr", "tar", "sha256sum"} <= called
    assert sorted(name for name in called - standard if f"`{name}`" not in needed) == []


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


@pytest.mark.parametrize("change", ["edited", "added"])
def test_signed_release_of_uncommitted_files_is_refused(change: str, tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "tree"
    run(["git", "clone", "--quiet", tree, copy])
    file = {"edited": "README.md", "added": "notes.txt"}[change]
    (copy / file).write_text("changed\n")
    keys = make_keys(tmp_path)
    done = ci("--keyring", keys.secret, "--key", SIGNER, "--output", tmp_path / "release", cwd=copy)
    assert done.returncode == 1
    assert f"A signed release is made from a commit, and {file} differ from it: commit them" in done.stderr
    assert not (tmp_path / "release").exists()


def common_package(helm: Path, folder: Path) -> Path:
    """A small packaged chart."""
    run(
        [
            helm / "helm",
            "package",
            ROOT / "charts" / "lighthouse" / "charts" / "common",
            "--destination",
            folder,
        ]
    )
    (package,) = folder.glob("*.tgz")
    return package


def test_key_with_a_passphrase_signs_with_the_file_that_holds_it(helm: Path, tmp_path: Path) -> None:
    keys = make_keys(tmp_path, "correct horse")
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("wrong\n")
    package = common_package(helm, tmp_path)
    sums = tmp_path / "SHA256SUMS"
    sums.write_text("none\n")
    for passphrase in (wrong, None):
        key = Key(keys.secret, SIGNER, passphrase)
        with pytest.raises(Failure):
            key.sign(sums)
        with pytest.raises(Failure):
            key.sign_chart(helm / "helm", package)
    key = Key(keys.secret, SIGNER, right)
    key.sign(sums)
    run(["gpgv", "--keyring", keys.public, f"{sums}.asc", sums])
    key.sign_chart(helm / "helm", package)
    verify_chart(helm, package, keys)


def test_second_release_of_the_same_commit_has_the_same_chart(
    tree: Path, release: Release, tmp_path: Path
) -> None:
    done = ci("--unsigned", "--output", tmp_path / "again", cwd=tree)
    assert done.returncode == 0, done.stderr
    again = tmp_path / "again" / release.package.name
    with tarfile.open(again) as first, tarfile.open(release.package) as second:
        assert first.getnames() == second.getnames()
    assert archive.sha256(again) == archive.sha256(release.package)
