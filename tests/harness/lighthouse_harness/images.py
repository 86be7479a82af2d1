"""The images a render names, and how firmly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .documents import walk
from .findings import Finding, Verdict, verdict
from .model import POD_SPEC_PATHS, Object, Render

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_REFERENCE: Final = re.compile(
    r"(?P<name>[a-zA-Z0-9][a-zA-Z0-9._-]*(?::\d+)?(?:/[a-z0-9][a-z0-9._-]*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_MOVING: Final = frozenset({"latest", "main", "master", "edge", "nightly", "stable", "dev"})
_IMAGE_FIELDS: Final = frozenset({"image", "imageName", "sidecarImage"})


@dataclass(frozen=True, slots=True)
class Image:
    """One use of an image."""

    object: str
    path: str
    reference: str

    @property
    def name(self) -> str:
        """The repository without tag and digest; empty if the reference cannot be read."""
        found = _REFERENCE.fullmatch(self.reference)
        return found["name"] if found else ""

    @property
    def tag(self) -> str:
        found = _REFERENCE.fullmatch(self.reference)
        return (found["tag"] or "") if found else ""

    @property
    def digest(self) -> str:
        found = _REFERENCE.fullmatch(self.reference)
        return (found["digest"] or "") if found else ""


def _of_object(item: Object) -> Iterator[Image]:
    if item.pod is not None:
        for container in item.pod.containers:
            yield Image(item.ref, f"{container.path}.image", container.image)
        for index, volume in enumerate(item.pod.spec.get("volumes") or ()):
            if volume.get("image"):
                place = f"{item.pod.spec_path}.volumes[{index}].image.reference"
                yield Image(item.ref, place, str(volume["image"].get("reference") or ""))
    elif item.kind not in POD_SPEC_PATHS and item.kind not in {
        "ConfigMap",
        "Secret",
        "CustomResourceDefinition",
    }:
        for path, leaf in walk(item.document.get("spec") or {}, "spec"):
            if path.rpartition(".")[2] in _IMAGE_FIELDS and isinstance(leaf, str):
                yield Image(item.ref, path, leaf)


def images(render: Render) -> tuple[Image, ...]:
    """Every use of an image: in containers, image volumes, and custom resources such as a CNPG Cluster."""
    return tuple(image for item in render.objects for image in _of_object(item))


def image_list(render: Render) -> tuple[str, ...]:
    """The distinct references, sorted: what an air-gapped site has to mirror."""
    return tuple(sorted({image.reference for image in images(render)}))


def image_tags(render: Render, digests: bool = False, registries: Iterable[str] = ()) -> Verdict:
    """Whether every image has a fixed tag (a digest too if `digests`), from `registries` if any is named."""
    used, allowed = images(render), tuple(registries)
    found = []
    for image in used:
        for check, fix in _problems(image, digests, allowed):
            found.append(Finding(f"image/{check}", image.object, image.path, image.reference, fix))
    return verdict("image", used, found)


def _problems(image: Image, digests: bool, registries: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not image.name:
        yield "reference", "write it as registry/name:tag or registry/name@sha256:…"
        return
    if not image.tag and not image.digest:
        yield "tag", "give it a version tag: without one it means latest"
    if image.tag in _MOVING and not image.digest:
        yield "tag", f"use a version: {image.tag} moves"
    if digests and not image.digest:
        yield "digest", "pin it with @sha256:…"
    if registries and not any(image.name.startswith(f"{registry.rstrip('/')}/") for registry in registries):
        yield "registry", f"take it from {', '.join(registries)}"
