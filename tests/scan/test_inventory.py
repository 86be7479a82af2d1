"""Every image that a render names is scanned, or somebody answers for that it is not, until a day."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from ci import images, toolchain
from ci.console import Failure, Steps
from ci.scan import canary, targets
from ci.scan.inventory import NamedBy, images_of, problems, read_inventory, repository
from ci.settings import ROOT

from .conftest import LEAST, POLICIES

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY = read_inventory(POLICIES / "images.yaml")
TODAY = datetime.datetime.now(tz=datetime.UTC).date()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The images of every render that is scanned."""
    helm = toolchain.helm_and_kubectl(Steps(quiet=True)) / "helm"
    renders = targets.render(helm, tmp_path_factory.mktemp("renders"))
    return {image for file in renders.values() for image in images_of(file.read_text())}


def test_every_released_image_says_which_packages_it_holds() -> None:
    assert set(INVENTORY.ours) == set(images.RELEASED)


def test_image_that_is_not_listed_is_not_scanned_in_silence() -> None:
    with pytest.raises(Failure, match=r"queue was not scanned: policies/scan/images\.yaml does not say"):
        INVENTORY.expected("queue")


def test_the_database_must_know_every_kind_of_package_that_is_listed() -> None:
    assert INVENTORY.buckets() - set(LEAST) == set()
    assert "go::" in INVENTORY.buckets()


def test_every_image_of_every_render_is_scanned_or_excused(named: set[str]) -> None:
    found = {repository(image).rpartition("/")[2] for image in named}
    assert {*images.RELEASED, "postgresql", "pgbouncer"} <= found
    assert problems(INVENTORY, named, TODAY) == ()


def test_page_of_releases_names_every_image_that_a_bundle_lacks() -> None:
    page = (ROOT / "docs" / "release.md").read_text()
    assert [one.repository for one in INVENTORY.others if f"`{one.repository}`" not in page] == []


def test_image_of_every_kind_of_container_is_seen() -> None:
    pods = """
spec: {containers: [{image: a:1}], initContainers: [{image: b:1}], ephemeralContainers: [{image: c:1}]}
---
kind: Cluster
spec: {imageName: "d:1"}
---
kind: Pooler
spec: {template: {spec: {containers: [{image: e:1}]}}}
"""
    assert images_of(pods) == ["a:1", "b:1", "c:1", "d:1", "e:1"]


def test_unknown_image_fails_by_name() -> None:
    named = {*images_of(canary.MANIFEST), "localhost/lighthouse/bridge:1", "lighthouse/bridge-debug:1"}
    found = [one for one in problems(INVENTORY, named, TODAY) if "excuses nothing" not in one]
    assert found == [
        "The image example.com/canary:1.0.0 is neither scanned nor excused: name canary in policies/scan/images.yaml.",
        "The image lighthouse/bridge-debug:1 is neither scanned nor excused: "
        "name lighthouse/bridge-debug in policies/scan/images.yaml.",
    ]


def test_entry_past_its_day_or_for_no_image_fails(named: set[str]) -> None:
    first = next(one for one in INVENTORY.others if one.named_by is NamedBy.RENDER)
    after = first.expires + datetime.timedelta(days=1)
    ended = f"The entry for the image {first.repository} ended on {first.expires}: {first.owner} has to judge it anew."
    assert ended in problems(INVENTORY, named, after)
    assert ended not in problems(INVENTORY, named, first.expires)
    without = {image for image in named if repository(image) != first.repository}
    idle = f"The entry for the image {first.repository} excuses nothing, since no render names it: remove it."
    assert problems(INVENTORY, {i for i in without if first.repository not in i}, TODAY) == (idle,)


@pytest.mark.parametrize("lacking", ["reason", "owner", "expires", "named_by"])
def test_entry_needs_reason_owner_and_day(lacking: str, tmp_path: Path) -> None:
    entry: dict[str, object] = {
        "repository": "a/b",
        "named_by": "render",
        "reason": "r",
        "owner": "platform",
        "expires": TODAY,
    }
    del entry[lacking]
    file = tmp_path / "images.yaml"
    file.write_bytes(msgspec.yaml.encode({"ours": {"bridge": ["debian"]}, "others": [entry]}))
    with pytest.raises(Failure, match=f"missing required field `{lacking}`"):
        read_inventory(file)


def test_kind_of_package_that_no_database_knows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "images.yaml"
    file.write_bytes(msgspec.yaml.encode({"ours": {"bridge": ["debian", "jar"]}, "others": []}))
    with pytest.raises(Failure, match=r"names packages of jar: name debian, python-pkg, gobinary\."):
        read_inventory(file)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("ghcr.io/cloudnative-pg/postgresql:18.4", "cloudnative-pg/postgresql"),
        ("localhost/lighthouse/bridge@sha256:" + "a" * 64, "lighthouse/bridge"),
        ("registry.example:5000/mirror/a/b:1@sha256:" + "a" * 64, "mirror/a/b"),
        ("library/debian:12", "library/debian"),
        ("debian", "debian"),
    ],
)
def test_repository_is_the_name_without_registry_tag_and_digest(image: str, name: str) -> None:
    assert repository(image) == name
