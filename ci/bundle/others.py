"""What a release takes along that is made elsewhere: operators' manifests, and images that these and the chart name."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.console import Failure, run
from ci.scan.inventory import OURS, images_of, repository

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ci.scan.inventory import Inventory

IMAGES = "images.txt"
"""Beside the manifests: images that they name in no field of an image, such as in a Secret; one a line."""


@dataclass(frozen=True)
class ForeignImage:
    """An image made elsewhere, by the `reference` that a manifest has."""

    reference: str

    @property
    def repository(self) -> str:
        """Its name without registry, tag and digest."""
        return repository(self.reference)

    @property
    def name(self) -> str:
        """The folder of its layout."""
        return self.repository.rpartition("/")[2]

    @property
    def registry(self) -> str:
        """What stands before the repository, with the slash."""
        return self.reference[: self.reference.index(self.repository)]

    @property
    def version(self) -> str:
        """Its tag and digest, as they follow the repository."""
        return self.reference[len(self.registry) + len(self.repository) :]

    @property
    def imported(self) -> str:
        """The name by which a node looks for it: without the tag where there is a digest."""
        tag, at, digest = self.version.partition("@")
        return (
            f"{self.registry}{self.repository}{at}{digest}"
            if at
            else f"{self.registry}{self.repository}{tag}"
        )


def read_operators(folder: Path) -> tuple[list[Path], list[str]]:
    """The manifests in a folder, and the images that they and images.txt name."""
    manifests = sorted(folder.glob("*.yaml"))
    if not manifests:
        raise Failure(
            f"OPERATORS is {folder}, which is no folder with an operator's manifests in *.yaml: give another."
        )
    named = {image for file in manifests for image in images_of(file.read_text())}
    listed = folder / IMAGES
    if listed.is_file():
        lines = (line.partition("#")[0].strip() for line in listed.read_text().splitlines())
        named |= {line for line in lines if line}
    return manifests, sorted(named)


def known_images(references: Iterable[str], inventory: Inventory) -> list[ForeignImage]:
    """The images of others among `references`, each once; `Failure` for one that nobody answers for."""
    others = [ForeignImage(one) for one in sorted(set(references)) if not repository(one).startswith(OURS)]
    known = [one.repository for one in inventory.others]
    for one in others:
        if not any(one.repository == name or one.repository.endswith(f"/{name}") for name in known):
            raise Failure(
                f"The image {one.reference} is not in policies/scan/images.yaml: name there who answers for it."
            )
        if not one.version:
            raise Failure(f"The image {one.reference} has neither tag nor digest: give it one.")
    if twice := sorted({one.name for one in others if [other.name for other in others].count(one.name) > 1}):
        raise Failure(f"Two versions or makers of {', '.join(twice)} are named: let all manifests name one.")
    return others


def pull(crane: Path, image: ForeignImage, mirror: str, layout: Path) -> str:
    """Fetch an image for all of its platforms as a folder in the OCI layout; returns its digest.

    It comes from its own registry, or from `mirror` by the same repository, tag and digest.
    """
    source = f"{mirror}/{image.repository}{image.version}" if mirror else image.reference
    hint = "Give a registry that has it by MIRROR, or log in to its own with 'crane auth login'."
    layout.parent.mkdir(parents=True, exist_ok=True)
    run([crane, "pull", "--format=oci", source, layout], hint=hint)
    index = json.loads((layout / "index.json").read_text())
    (described,) = index["manifests"]
    described["annotations"] = {"io.containerd.image.name": image.imported}
    (layout / "index.json").write_text(json.dumps(index))
    digest: str = described["digest"]
    return digest


def copy_manifests(manifests: Iterable[Path], folder: Path) -> None:
    """Put operators' manifests into the bundle."""
    folder.mkdir()
    for file in manifests:
        shutil.copyfile(file, folder / file.name)


def instructions(own: Iterable[str], held: list[ForeignImage], inventory: Inventory) -> dict[str, str]:
    """The parts of LOAD.md that differ by what is in the bundle: our images by name, and those of others."""
    lacking = [
        f"- `{one.repository}`"
        for one in inventory.others
        if not any(f"/{image.repository}".endswith(f"/{one.repository}") for image in held)
    ]
    contents = f"In here are the images {' '.join(own)}. They are enough for the default profile, with Redis or without."
    if held:
        contents += (
            " From elsewhere come the manifests in `operators/` and these images, which they and a release with "
            "PostgreSQL need:\n\n"
        )
        contents += "\n".join(f"- `{image.reference}`" for image in held)
    if lacking:
        contents += (
            "\n\nA release with PostgreSQL (`postgres.enabled`, the production profiles) needs these too, and the "
            "manifests of their operators, which you mirror yourself:\n\n"
        )
        contents += "\n".join(lacking)
    return {"contents": contents, **(_steps(held) if held else dict.fromkeys(_steps(held), ""))}


def _steps(held: list[ForeignImage]) -> dict[str, str]:
    pushes = [
        f'crane push "images/{image.name}" "$REGISTRY/{image.repository}{image.version.partition("@")[0]}"'
        for image in held
    ]
    moves = " ".join(f'-e "s#{registry}#$REGISTRY/#g"' for registry in sorted({one.registry for one in held}))
    apply = "kubectl apply --server-side -f"
    return {
        "operators": f"Operators before what they run:\n\n```sh operators\n{apply} operators/\n```\n\n",
        "pushes": "\n".join(pushes) + "\n",
        "operators-from-registry": (
            "Operators before what they run:\n\n```sh operators-from-registry\nfor file in operators/*.yaml; do\n"
            f'  sed {moves} "$file" | {apply} -\ndone\n```\n\n'
        ),
    }
