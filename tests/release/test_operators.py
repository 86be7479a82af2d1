"""With a folder of operators' manifests, a bundle holds every image that a release with PostgreSQL needs."""

from __future__ import annotations

import json
import os
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

    from .conftest import Site

pytestmark = pytest.mark.release

OTHERS = read_inventory(ROOT / "policies" / "scan" / "images.yaml").others
SIDECAR = "cloudnative-pg/plugin-barman-cloud-sidecar"
OPERATED = {
    one.repository: f"quay.example/{one.repository}:1.2.3"
    for one in OTHERS
    if one.named_by is NamedBy.OPERATOR
}
OPERATORS = [name.rpartition("/")[2] for name in OPERATED if name != SIDECAR]


def deployment(name: str, image: str) -> str:
    """An operator's manifest; its image, a copy of that of Redis, runs without any file of its own."""
    labels = {"app": name}
    container = {"name": name, "image": image, "args": ["redis-server", "--save", ""]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": "default"}
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    return yaml.safe_dump(manifest)


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
        name = repository.rpartition("/")[2]
        if name in OPERATORS:
            (folder / f"{name}.yaml").write_text(deployment(name, image))
    (folder / "images.txt").write_text(f"# named by a Secret\n{OPERATED[SIDECAR]}\n")
    return folder


@pytest.fixture(scope="module")
def mirror(helm: Path, release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    """Each image is that of Redis with another label, since no registry with the real ones is at hand."""
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


def running(site: Site) -> set[str]:
    """The images of the operators' pods, when all of them run as their Deployments say."""
    for name in OPERATORS:
        site.cluster.kubectl("rollout", "status", f"deploy/{name}", "-n", "default", "--timeout=120s")
    pods = site.cluster.get("pods", "-n", "default", "--field-selector=status.phase=Running")["items"]
    return {
        pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a cluster")
def test_operators_run_from_the_bundle_alone_and_then_from_the_sites_registry(
    whole: Release, site: Site, registry: str, mirror: Mirror
) -> None:
    whole.step("load", site.env, site.path)
    ctr: list[str | Path] = [site.programs / "ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]
    assert {one.imported for one in mirror.wanted.values()} <= set(run(ctr).split())
    whole.step("operators", site.env, site.path)
    assert running(site) == {OPERATED[name] for name in OPERATED if name != SIDECAR}

    env = {**site.env, "REGISTRY": registry, "PLAIN_HTTP": "--plain-http"}
    for step in ("push", "operators-from-registry"):
        whole.step(step, env, site.path, site.network)
    assert running(site) == {f"{registry}/{name}:1.2.3" for name in OPERATED if name != SIDECAR}
    site.cluster.kubectl("delete", "deploy", "-n", "default", *OPERATORS)


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


@pytest.mark.parametrize("name", [".", "missing"])
def test_folder_without_manifests_is_refused(name: str, tmp_path: Path) -> None:
    done = ci("--unsigned", "--operators", tmp_path / name, "--output", tmp_path / "release")
    assert done.returncode == 1
    assert f"OPERATORS is {tmp_path / name}, which is no folder with an operator's manifests" in done.stderr
