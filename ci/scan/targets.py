"""What of this repository is scanned: images, locks, renders of every profile, and the files themselves."""

from __future__ import annotations

import shutil
import tarfile
from typing import TYPE_CHECKING

from ci.chart.site import OPERATED, SITE
from ci.console import Failure, run
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "charts" / "lighthouse"
VALUES = (CHART / "profiles", ROOT / "tests" / "chart" / "values")
APIS = [word for api in OPERATED for word in ("--api-versions", api)]


def tracked(*patterns: str) -> list[Path]:
    """The repository's files like the patterns, those not yet added too."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    found = [ROOT / name for name in run(words, cwd=ROOT).splitlines()]
    files = [path for path in found if path.is_file()]
    if not files:
        raise Failure(f"git knows no file like {' '.join(patterns)} in {ROOT}: run this in a checkout.")
    return files


def locks() -> dict[str, Path]:
    """Every lock of Python packages by its path in the repository."""
    return {str(path.relative_to(ROOT)): path for path in tracked("*requirements.txt")}


def copy_sources(folder: Path) -> Path:
    """The repository's files and links without what git ignores, with their modes."""
    for path in tracked("."):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target, follow_symlinks=False)
    return folder


def render(helm: Path, folder: Path, chart: Path = CHART) -> dict[str, Path]:
    """The manifests of the default values, of each profile, and of the combinations that the tests use."""
    folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, list[str | Path]] = {"default": []}
    for base in VALUES:
        for path in sorted(base.glob("*.yaml")):
            values[path.stem] = ["--values", SITE, "--values", path, *APIS]
    renders = {}
    for name, words in values.items():
        file = folder / f"{name}.yaml"
        file.write_text(run([helm, "template", "lighthouse", chart, "--namespace", "lighthouse", *words]))
        renders[name] = file
    return renders


def unpack(archive: Path, folder: Path) -> Path:
    """An OCI archive as the folder that Trivy reads."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder
