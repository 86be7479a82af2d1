"""With a folder of operators' manifests, a bundle holds every image that a release with PostgreSQL needs."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import yaml

from ci import images, toolchain
from ci.bundle import archive
from ci.bundle.chart import chart_images
from ci.bundle.others import ForeignImage
from ci.console import Steps, run
from ci.scan.inventory import NamedBy, read_inventory
from ci.settings import ROOT
from tests.ports import free_port
from tests.registry import serve_registry

from .conftest import Release, ci

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.release

OTHERS = read_inventory(ROOT / "policies" / "scan" / "images.yaml").others
SIDECAR = "cloudnative-pg/plugin-barman-cloud-sidecar"
OPERATED = {
    one.repository: f"quay.example/{one.repository}:1.2.3"
    for one in OTHERS
    if one.named_by is NamedBy.OPERATOR
}


def deployment(name: str, image: str) -> str:
    container = {"name": name, "image": image}
    spec = {"template": {"spec": {"containers": [container]}}}
    return yaml.safe_dump(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    )


@dataclass(frozen=True)
class Mirror:
    """A registry that holds, by their repositories and tags, stand-ins for the images of others."""

    address: str
    crane: Path
    wanted: dict[str, ForeignImage]

    def digest(self, reference: str) -> str:
        return run([self.crane, "digest", reference]).strip()


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests that name the operators' images, and a list with the one that no manifest names as an image."""
    folder = tmp_path_factory.mktemp("operators")
    for repository, image in OPERATED.items():
        if repository != SIDECAR:
            name = repository.rpartition("/")[2]
            (folder / f"{name}.yaml").write_text(deployment(name, image))
    (folder / "images.txt").write_text(f"# named by a Secret\n{OPERATED[SIDECAR]}\n")
    return folder


@pytest.fixture(scope="module")
def mirror(helm: Path, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """What differs between the images is irrelevant here: each is a copy of one of ours, of two platforms."""
    crane = toolchain.go_tool(toolchain.CRANE, Steps(quiet=True)) / "crane"
    address = f"127.0.0.1:{free_port()}"
    named = [image for image in chart_images(helm / "helm", release.package) if "/lighthouse/" not in image]
    wanted = {one.repository: one for one in map(ForeignImage, [*named, *OPERATED.values()])}
    with serve_registry(tmp_path_factory.mktemp("registry"), address):
        for number, one in enumerate(wanted.values()):
            target = f"{address}/{one.repository}{one.version}"
            run([crane, "push", release.bundle / "images" / "redis", target])
            run([crane, "mutate", "--label", f"number={number}", "--tag", target, target])
        yield Mirror(address, crane, wanted)


@pytest.fixture(scope="module")
def whole(
    release: Release, operators: Path, mirror: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Release:
    """A release that takes along what is made elsewhere."""
    folder = tmp_path_factory.mktemp("whole")
    done = ci(
        *("--unsigned", "--operators", operators, "--mirror", mirror.address),
        *("--output", folder / "output"),
    )
    assert done.returncode == 0, done.stderr
    (bundle,) = (folder / "output").glob("*-airgap.tar")
    with tarfile.open(bundle) as content:
        content.extractall(folder, filter="data")
    return Release(folder / "output", folder / bundle.stem, release.keys)


def test_bundle_holds_each_image_under_the_name_that_nodes_look_for(whole: Release, mirror: Mirror) -> None:
    assert {one.repository for one in OTHERS} == set(mirror.wanted)
    held = {path.name for path in (whole.bundle / "images").iterdir()}
    assert held == {*images.RELEASED, *(one.name for one in mirror.wanted.values())}
    for one in mirror.wanted.values():
        layout = whole.bundle / "images" / one.name
        (described,) = json.loads((layout / "index.json").read_text())["manifests"]
        assert described["annotations"] == {"io.containerd.image.name": one.reference}
        assert described["digest"] == mirror.digest(f"{mirror.address}/{one.repository}{one.version}")


def test_manifests_of_operators_are_in_the_bundle_and_its_checksums(whole: Release, operators: Path) -> None:
    given = {file.name: file.read_text() for file in operators.glob("*.yaml")}
    assert given == {file.name: file.read_text() for file in (whole.bundle / "operators").iterdir()}
    whole.step("verify", {})


def test_provenance_names_the_images_of_others_by_digest(whole: Release, mirror: Mirror) -> None:
    statement = json.loads((whole.output / "provenance.json").read_text())
    materials = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    known = {one["uri"]: one["digest"]["sha256"] for one in materials}
    for one in mirror.wanted.values():
        assert f"sha256:{known[one.reference]}" == mirror.digest(
            f"{mirror.address}/{one.repository}{one.version}"
        )


def test_instructions_lack_nothing_and_their_push_fills_a_registry(whole: Release, mirror: Mirror) -> None:
    text = (whole.bundle / "LOAD.md").read_text()
    assert "{{" not in text
    assert "which you mirror yourself" not in text
    registry = f"{mirror.address}/site"
    helm = toolchain.helm_and_kubectl(Steps(quiet=True))
    whole.step("push", {"REGISTRY": registry, "PLAIN_HTTP": "--plain-http"}, (mirror.crane.parent, helm))
    for one in mirror.wanted.values():
        layout = whole.bundle / "images" / one.name
        assert mirror.digest(f"{registry}/{one.repository}{one.version}") == archive.image_digest(layout)


def test_operators_are_applied_with_the_images_of_the_sites_registry(whole: Release, tmp_path: Path) -> None:
    said = tmp_path / "applied"
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" >> {said}.words\ncat >> {said}\necho --- >> {said}\n')
    kubectl.chmod(0o755)
    whole.step("operators-from-registry", {"REGISTRY": "registry.example:5000"}, (tmp_path,))
    named = {
        document["spec"]["template"]["spec"]["containers"][0]["image"]
        for document in yaml.safe_load_all(said.read_text())
        if document
    }
    expected = {f"registry.example:5000/{name}:1.2.3" for name in OPERATED if name != SIDECAR}
    assert named == expected


@pytest.mark.parametrize(
    ("image", "refusal"),
    [
        (
            "quay.example/somebody/else:1",
            "The image quay.example/somebody/else:1 is not in policies/scan/images.yaml",
        ),
        ("quay.example/jetstack/cert-manager-webhook", "has neither tag nor digest: give it one."),
    ],
)
def test_image_that_nobody_answers_for_or_has_no_version_is_refused(
    image: str, refusal: str, tmp_path: Path
) -> None:
    folder = tmp_path / "operators"
    folder.mkdir()
    (folder / "one.yaml").write_text(deployment("one", image))
    done = ci("--unsigned", "--operators", folder, "--output", tmp_path / "release")
    assert (done.returncode, refusal in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "release").exists()


def test_image_that_the_mirror_lacks_is_named_with_the_way_out(operators: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with serve_registry(tmp_path, address):
        words: list[str | Path] = ["--unsigned", "--operators", operators, "--mirror", address]
        done = ci(*words, "--output", tmp_path / "release")
    assert done.returncode == 1
    assert f"{address}/cloudnative-pg/" in done.stderr
    assert "Give a registry that has it by MIRROR" in done.stderr
    assert not (tmp_path / "release").exists()


def test_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    done = ci("--unsigned", "--operators", tmp_path, "--output", tmp_path / "release")
    assert done.returncode == 1
    assert f"{tmp_path} has no *.yaml with an operator's manifests" in done.stderr
