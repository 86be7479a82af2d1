"""What is planned for: the review's minimum with and without what it left out, and the chart's own profiles."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING

from ci.capacity.data import Review, Share, read_review
from ci.chart.site import OPERATED, SITE
from ci.settings import NAMESPACE, RELEASE, ROOT
from lighthouse_harness.capacity import GIB, HOSTNAME, Apart, Demand, demands
from lighthouse_harness.model import Request
from lighthouse_harness.network_selectors import parse_selector
from lighthouse_harness.render import Renderer

if TYPE_CHECKING:
    from pathlib import Path

CHART = ROOT / "charts" / "lighthouse"
# The profiles that docs/capacity.md shows; `make capacity` knows all of them.
SHOWN = ("default", "production")


def rendered(values: tuple[Path, ...] = (), helm: Path | None = None) -> tuple[Demand, ...]:
    """What the chart with these values files needs; `helm` is the folder with the program."""
    if helm is not None:
        os.environ["HELM"] = str(helm / "helm")
    request = Request(
        CHART,
        (SITE, *values),
        release=RELEASE,
        namespace=NAMESPACE,
        kubernetes="1.37.0",
        api_versions=OPERATED,
    )
    return demands(Renderer().render(request))


def profiles() -> dict[str, tuple[Path, ...]]:
    """The chart's profiles: the defaults and every shipped values file."""
    return {"default": (), **{path.stem: (path,) for path in sorted((CHART / "profiles").glob("*.yaml"))}}


def counted(review: Review) -> tuple[Demand, ...]:
    """What the review summed up."""
    return tuple(_demand(share) for share in review.counted)


def whole(review: Review, chart: tuple[Demand, ...]) -> tuple[Demand, ...]:
    """What the review summed up and what it left out; parts of this chart are taken from its render."""
    found = []
    for share in (*review.counted, *review.left_out):
        if not share.chart:
            found.append(_demand(share))
            continue
        parts = [demand for demand in chart if demand.component == share.chart]
        if not parts:
            raise ValueError(
                f"The chart renders no component {share.chart!r}, which the review's table names."
            )
        found += parts
    return tuple(found)


def sources(review: Review) -> dict[str, str]:
    """Where each figure of the review's table comes from."""
    return {share.name: share.source for share in (*review.counted, *review.left_out)}


def review_shapes(chart: tuple[Demand, ...]) -> dict[str, tuple[Demand, ...]]:
    """The review's sum, and the same with what it left out."""
    review = read_review()
    return {"the review": counted(review), "the review and what it left out": whole(review, chart)}


def _demand(share: Share) -> Demand:
    labels = {"app": share.name}
    cpu, memory = Fraction(str(share.cpu)), Fraction(str(share.memory_gib)) * GIB
    rule = Apart(HOSTNAME, frozenset({"review"}), parse_selector({"matchLabels": labels}, share.name))
    return Demand(
        name=share.name,
        component=share.name,
        namespace="review",
        replicas=share.replicas,
        cpu=cpu,
        memory=memory,
        cpu_limit=cpu,
        memory_limit=memory,
        disks=(Fraction(str(share.disk_gib)) * GIB,) if share.disk_gib else (),
        labels=labels,
        apart=(rule,) if share.apart else (),
    )
