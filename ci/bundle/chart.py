"""The chart as it is released: its images by digest, its annotations made from its render."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

import yaml

from ci.chart.site import SITE
from ci.console import Failure, run
from ci.scan.inventory import images_of, repository
from ci.scan.targets import APIS, render
from ci.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHART = ROOT / "charts" / "lighthouse"
WHOLE = ("--set", "redis.enabled=true")
"""Values by which a render names every image of ours."""
CHANGES = 20
"""How many commits the annotation of changes names at most."""


def version() -> str:
    """The version that is released, from Chart.yaml."""
    found: str = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    return found


def pinned_chart(helm: Path, digests: Mapping[str, str], folder: Path) -> Path:
    """A copy of the chart whose values name our images by digest, annotated for Artifact Hub.

    `digests` has the digest of each image by its name. Raises `Failure` if a render of any profile then still names
    one of our images by tag, or the values never name an image.
    """
    chart = folder / CHART.name
    shutil.copytree(CHART, chart)
    for name, digest in digests.items():
        if not sum(_pin(path, name, digest) for path in chart.rglob("values.yaml")):
            raise Failure(
                f"No values.yaml of {CHART} has the image lighthouse/{name}: take it out of the release."
            )
    used = images_of(run([helm, "template", "lighthouse", chart, "--namespace", "lighthouse", *WHOLE]))
    renders = render(helm, folder / "renders", chart).values()
    named = {*used, *(image for file in renders for image in images_of(file.read_text()))}
    if loose := sorted(image for image in named if "/lighthouse/" in image and "@sha256:" not in image):
        raise Failure(f"The chart names {', '.join(loose)} without a digest: give its values a digest.")
    _annotate(chart / "Chart.yaml", used)
    for path in chart.rglob("*"):
        os.utime(path, (0, 0))
    return chart


def chart_images(helm: Path, chart: Path) -> list[str]:
    """Every image that the chart names with PostgreSQL, its pooler and Redis."""
    words: list[str | Path] = [
        "--values",
        SITE,
        *WHOLE,
        "--set",
        "postgres.enabled=true,postgres.pooler.enabled=true",
        *APIS,
    ]
    return images_of(run([helm, "template", "lighthouse", chart, "--namespace", "lighthouse", *words]))


def _pin(path: Path, name: str, digest: str) -> int:
    """Write the digest beside the image's repository; returns how often."""
    place = rf'(^( *)repository: lighthouse/{name}\n(?:(?:\2.*)?\n)*?\2digest: )""'
    text, count = re.subn(place, rf'\1"{digest}"', path.read_text(), flags=re.MULTILINE)
    path.write_text(text)
    return count


def _annotate(file: Path, used: list[str]) -> None:
    listed = [{"name": repository(image).rpartition("/")[2], "image": image} for image in used]
    log = run(["git", "log", f"--max-count={CHANGES}", "--no-merges", "--format=%s", "--", "."], cwd=ROOT)
    metadata = yaml.safe_load(file.read_text())
    metadata["annotations"] = {
        "artifacthub.io/images": yaml.safe_dump(listed, sort_keys=False),
        "artifacthub.io/changes": yaml.safe_dump(log.splitlines()),
        "artifacthub.io/prerelease": str(metadata["version"].startswith("0.")).lower(),
    }
    file.write_text(yaml.safe_dump(metadata, sort_keys=False))
