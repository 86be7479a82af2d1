"""The files of a release and the one that holds them all."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

from ci.console import run
from ci.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUMS = "SHA256SUMS"


def commit() -> str:
    """The commit that is built from."""
    return run(["git", "rev-parse", "HEAD"], cwd=ROOT).strip()


def changes() -> list[str]:
    """The files that differ from that commit, or that it does not know."""
    return [line[3:] for line in run(["git", "status", "--porcelain"], cwd=ROOT).splitlines()]


def image_digest(layout: Path) -> str:
    """The digest of the one image in an OCI layout."""
    (described,) = json.loads((layout / "index.json").read_text())["manifests"]
    digest: str = described["digest"]
    return digest


def name_image(layout: Path, repository: str) -> None:
    """Name the image in a layout by its digest, as the chart does, for what imports it into a node.

    The commit stands beside the name and not in the image, whose digest is that of its content alone.
    """
    index = json.loads((layout / "index.json").read_text())
    (described,) = index["manifests"]
    described["annotations"] = {
        "io.containerd.image.name": f"{repository}@{described['digest']}",
        "org.opencontainers.image.revision": commit(),
    }
    (layout / "index.json").write_text(json.dumps(index))


def provenance(subjects: Mapping[str, str], materials: Mapping[str, str]) -> dict[str, Any]:
    """What was built from what, as an in-toto statement with SLSA's predicate; digests are sha256 without prefix."""
    dependencies = [{"uri": name, "digest": {"sha256": digest}} for name, digest in sorted(materials.items())]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://lighthouse.dev/make-release/v1",
                "externalParameters": {"commit": commit(), "uncommittedChanges": bool(changes())},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": "https://lighthouse.dev/make-release"}},
        },
    }


def sha256(file: Path) -> str:
    """A file's checksum in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_sums(folder: Path) -> Path:
    """Write the checksums of all files below a folder; returns the list."""
    sums = folder / SUMS
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != sums)
    sums.write_text("".join(f"{sha256(path)}  {path.relative_to(folder)}\n" for path in files))
    return sums


def settle(package: Path) -> None:
    """Put the files of a packaged chart in order: Helm's follows from chance, and two releases would differ."""
    with tarfile.open(package) as content:
        files = [(entry, content.extractfile(entry)) for entry in content if entry.isfile()]
        files.sort(key=lambda one: (not one[0].name.endswith("/Chart.yaml"), one[0].name))
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            for entry, data in files:
                archive.addfile(entry, data)
    package.write_bytes(gzip.compress(plain.getvalue(), mtime=0))


def pack(folder: Path, file: Path) -> None:
    """Put a folder into a tar file, the same bytes for the same content."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, f"{file.stem}/{path.relative_to(folder)}", recursive=False, filter=plain)
