"""policies/scan/images.yaml: every image that a pod of ours runs is scanned, or somebody answers for that it is not."""

from __future__ import annotations

import datetime  # noqa: TC003 - msgspec reads the annotations
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import yaml

from ci.console import Failure
from ci.scan import trivy
from ci.scan.policy import Text, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

OURS = "lighthouse/"
"""How the repositories of the images that are built here begin."""
BUCKETS = {trivy.DEBIAN: "debian 12", trivy.PYTHON: "pip::", trivy.GO: "go::"}
"""How the names of the vulnerability database's buckets begin, by the kind of package that they are about."""
_KEYS = ("image", "imageName")  # of containers, and of CloudNativePG's clusters


class NamedBy(StrEnum):
    """Who puts an image into a pod."""

    RENDER = "render"
    OPERATOR = "operator"


class Other(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An image that is made elsewhere and not scanned here."""

    repository: Text
    """Without the registry, which a site chooses."""
    named_by: NamedBy
    reason: Text
    owner: Text
    expires: datetime.date


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The images that are scanned, with the kinds of packages in each, and those that are not."""

    ours: dict[Text, Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]]
    others: tuple[Other, ...]

    def expected(self, name: str) -> trivy.Expected:
        """What a scan of an image of ours must have seen; `Failure` for an image that is not listed."""
        if name not in self.ours:
            raise Failure(
                f"{name} was not scanned: policies/scan/images.yaml does not say which packages it holds."
            )
        return trivy.Expected(packages=self.ours[name])

    def buckets(self) -> set[str]:
        """How the names of the database's buckets begin that scans of our images need."""
        return {BUCKETS[kind] for kinds in self.ours.values() for kind in kinds}


def read_inventory(path: Path) -> Inventory:
    """Read the inventory; `Failure` for a kind of package of which no bucket of the database is known."""
    found = read(path, Inventory)
    if unknown := sorted({kind for kinds in found.ours.values() for kind in kinds} - set(BUCKETS)):
        raise Failure(f"{path} names packages of {', '.join(unknown)}: name {', '.join(BUCKETS)}.")
    return found


def images_of(manifests: str) -> list[str]:
    """Every image that rendered manifests name, each once: of containers, and for operators that make them."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from (value[key] for key in _KEYS if isinstance(value.get(key), str))
            for inner in value.values():
                yield from walk(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner)

    return sorted(
        {found for document in yaml.load_all(manifests, yaml.CSafeLoader) for found in walk(document)}
    )


def repository(image: str) -> str:
    """An image's name without registry, tag and digest; the registry is a first part with a dot, a colon or localhost."""
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or re.search(r"[.:]", first)):
        name = rest
    return re.sub(r":[^/:]+$", "", name)


def problems(inventory: Inventory, images: Iterable[str], today: datetime.date) -> tuple[str, ...]:
    """Why the images that renders name fail a scan: unknown ones, entries past their day, and entries for none."""
    named: Mapping[str, str] = {repository(image): image for image in images}
    known = {f"{OURS}{name}" for name in inventory.ours} | {one.repository for one in inventory.others}

    def used(name: str) -> bool:
        return any(found == name or found.endswith(f"/{name}") for found in named)

    unknown = [
        f"The image {image} is neither scanned nor excused: name {found} in policies/scan/images.yaml."
        for found, image in sorted(named.items())
        if not any(found == name or found.endswith(f"/{name}") for name in known)
    ]
    ended = [
        f"The entry for the image {one.repository} ended on {one.expires}: {one.owner} has to judge it anew."
        for one in inventory.others
        if one.expires < today
    ]
    idle = [
        f"The entry for the image {one.repository} excuses nothing, since no render names it: remove it."
        for one in inventory.others
        if one.named_by is NamedBy.RENDER and not used(one.repository)
    ]
    return (*unknown, *ended, *idle)
