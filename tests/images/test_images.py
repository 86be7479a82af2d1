"""What is in the product's images, how big they are, and that anybody builds the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ci import images
from ci.cache import locked
from ci.console import Steps
from ci.settings import CACHE, ROOT, VERSIONS

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple(images.RELEASED)
OF_PYTHON = tuple(name for name in NAMES if (ROOT / "images" / name / "requirements.txt").exists())
SHELLS = {"sh", "bash", "dash", "ash", "busybox", "zsh"}
INSTALLERS = {"apt", "apt-get", "dpkg", "dpkg-query", "perl", "pip", "pip3", "update-ca-certificates"}
TABLE = re.compile(r"^\| `(\S+)` \| (\d+) \| (\d+) \| (yes|no) \|$", re.MULTILINE)


IMPORTS = """
import importlib, pkgutil, ssl, sqlite3, ctypes, uuid, zlib, bz2, lzma
assert ssl.create_default_context().get_ca_certs() or ssl.get_default_verify_paths().capath
found = [one.name for one in pkgutil.walk_packages(importlib.import_module("{package}").__path__, "{package}.")]
modules = [importlib.import_module(name) for name in found if not name.endswith("__main__")]
print(len(modules))
"""


@dataclass(frozen=True)
class Content:
    """An unpacked image."""

    digest: str
    size: int
    config: dict[str, Any]
    files: dict[str, tarfile.TarInfo]

    def programs(self) -> set[str]:
        """Names of what can be run from a folder of programs."""
        return {
            name.rpartition("/")[2] for name in self.files if "/bin/" in f"/{name}" or "/sbin/" in f"/{name}"
        }


def read(archive: Path) -> Content:
    """The content of an OCI archive, its layers in their order."""
    with tarfile.open(archive) as whole:

        def blob(described: dict[str, Any]) -> Any:
            return whole.extractfile(f"blobs/sha256/{described['digest'][7:]}")

        index = json.load(whole.extractfile("index.json") or pytest.fail("no index"))
        (described,) = index["manifests"]
        manifest = json.load(blob(described))
        files: dict[str, tarfile.TarInfo] = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer)) as content:
                files |= {entry.name.removeprefix("./"): entry for entry in content}
        size = sum(layer["size"] for layer in manifest["layers"])
        return Content(described["digest"], size, json.load(blob(manifest["config"])), files)


def unpack(archive: Path, root: Path) -> None:
    """The files of an OCI archive's layers, in their order."""
    root.mkdir()
    with tarfile.open(archive) as whole:

        def blob(described: dict[str, Any]) -> Any:
            return whole.extractfile(f"blobs/sha256/{described['digest'][7:]}")

        (described,) = json.load(whole.extractfile("index.json") or pytest.fail("no index"))["manifests"]
        for layer in json.load(blob(described))["layers"]:
            with tarfile.open(fileobj=blob(layer)) as content:
                content.extractall(root, filter="tar")


def documented() -> dict[str, tuple[int, int, bool]]:
    """Size, budget in MB and whether there is a shell, by docs/images.md."""
    rows = TABLE.findall((ROOT / "docs" / "images.md").read_text())
    return {name: (int(size), int(budget), shell == "yes") for name, size, budget, shell in rows}


def test_every_image_has_a_budget() -> None:
    assert set(documented()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_connected_builds_pin_their_base_by_digest(name: str) -> None:
    text = (ROOT / "images" / name / "Containerfile").read_text()
    assert re.findall(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE) == [VERSIONS["debian"]["image"]]
    assert re.search(r"@sha256:[0-9a-f]{64}$", VERSIONS["debian"]["image"])
    assert ("--require-hashes" in text) is (name in OF_PYTHON)


@pytest.fixture(scope="module")
def base() -> images.Image:
    """The base that the images are assembled from."""
    if os.geteuid():
        pytest.skip("only root can build images")
    return images.base_image(Steps(quiet=True))


@pytest.fixture(scope="module", params=NAMES)
def image(request: pytest.FixtureRequest, base: images.Image) -> tuple[str, images.Image]:
    """Each image of the product, as `make up` builds it."""
    return request.param, images.product_image(Steps(quiet=True), request.param, base)


@pytest.fixture(scope="module")
def content(image: tuple[str, images.Image]) -> Content:
    """What is in it."""
    return read(image[1].archive)


@pytest.mark.heavy
def test_size_is_the_documented_one_and_within_its_budget(
    image: tuple[str, images.Image], content: Content
) -> None:
    size, budget, _ = documented()[image[0]]
    assert abs(content.size / 1e6 - size) <= 2, f"{image[0]} has {content.size / 1e6:.1f} MB"
    assert content.size <= budget * 1e6


@pytest.mark.heavy
def test_a_shell_is_where_the_page_says_and_nothing_installs(
    image: tuple[str, images.Image], content: Content
) -> None:
    programs = content.programs()
    assert ("python3" in programs) is (image[0] in OF_PYTHON)
    assert bool(programs & SHELLS) is documented()[image[0]][2]
    assert programs & INSTALLERS == set()


@pytest.mark.heavy
def test_nothing_is_setuid_or_writable_by_everybody(content: Content) -> None:
    raised = [name for name, entry in content.files.items() if entry.mode & (stat.S_ISUID | stat.S_ISGID)]
    assert raised == []
    writable = [n for n, entry in content.files.items() if entry.mode & stat.S_IWOTH and not entry.issym()]
    assert writable == ["tmp"]
    assert [name for name, entry in content.files.items() if entry.uid == 65532] == []


@pytest.mark.heavy
def test_configuration_is_that_of_the_release(image: tuple[str, images.Image], content: Content) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    config = content.config["config"]
    assert config["User"] == "65532:65532"
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert (labels["title"], labels["version"]) == (f"lighthouse/{image[0]}", version)
    assert {"description", "vendor", "base.name"} <= set(labels)
    assert content.config["created"] == "1970-01-01T00:00:00Z"


@pytest.mark.heavy
def test_package_lists_are_there_for_scanners(image: tuple[str, images.Image], content: Content) -> None:
    packages = {
        name.rpartition("/")[2] for name in content.files if name.startswith("var/lib/dpkg/status.d/")
    }
    assert {"base-files", "libc6"} <= packages
    if image[0] in OF_PYTHON:
        assert {"libssl3", "python3.11-minimal"} <= packages
        assert [name for name in content.files if name.endswith(".dist-info/METADATA")]


@pytest.mark.heavy
def test_what_runs_finds_the_libraries_that_it_needs(
    image: tuple[str, images.Image], content: Content, tmp_path: Path
) -> None:
    name, built = image
    unpack(built.archive, tmp_path / "root")
    if name not in OF_PYTHON:
        (program,) = content.config["config"].get("Entrypoint") or content.config["config"]["Cmd"]
        words = ["/bin/sh", "-c", f"{program} --version && sha256sum /dev/null | cut -c 1 && sleep 0"]
        chroot = ["/usr/sbin/chroot", "--userspec=65532:65532", str(tmp_path / "root")]
        done = subprocess.run([*chroot, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return
    script = IMPORTS.format(package=f"lighthouse_{name.replace('-', '_')}")
    words = [
        "/usr/sbin/chroot",
        "--userspec=65532:65532",
        str(tmp_path / "root"),
        "/opt/lighthouse/bin/python",
    ]
    done = subprocess.run([*words, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


@pytest.mark.heavy
def test_another_build_in_another_folder_has_the_same_digest(
    image: tuple[str, images.Image], base: images.Image, content: Content, tmp_path: Path
) -> None:
    name, first = image
    context = tmp_path / "elsewhere"
    for path in (*images.RELEASED[name], *images.SHARED):
        source, target = ROOT / path, context / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    reference = f"localhost/lighthouse/{name}:again"
    again = tmp_path / "again.tar"
    with locked(CACHE / "buildah.lock"):
        images.build_product(name, base, context, reference, layers=False)
        images.buildah("push", "--quiet", reference, f"oci-archive:{again}:{reference}")
        images.buildah("rmi", reference)
    assert read(again).digest == content.digest, f"differs from {first.archive}"
