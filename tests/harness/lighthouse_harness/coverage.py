"""Which branches of a chart's templates a set of renders comes through.

A marker is a call of `fail`, put where a branch begins. A render that fails by it has proven the branch, which
then loses its marker; a render that ends otherwise has no more branches to show. So output, white space and
helpers that return data are never touched, and each branch costs one render.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .render import RenderError
from .template_actions import Branch, branches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .model import Request
    from .render import Renderer

_HIT: Final = re.compile(r"lighthouse-branch-(\d+)\.")


@dataclass(frozen=True, slots=True)
class Place:
    """A branch in a file of the chart."""

    file: str
    branch: Branch

    def __str__(self) -> str:
        return f"{self.file}:{self.branch.title}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a set of renders came through."""

    covered: frozenset[Place]
    missed: tuple[Place, ...]

    @property
    def share(self) -> float:
        """Covered branches as a part of all, 0 to 1; a chart without branches is covered."""
        total = len(self.covered) + len(self.missed)
        return len(self.covered) / total if total else 1.0


def places(chart: Path) -> tuple[Place, ...]:
    """Every branch of a chart and its unpacked subcharts."""
    files = sorted(
        path for pattern in ("*.yaml", "*.tpl", "*.txt") for path in chart.rglob(f"templates/**/{pattern}")
    )
    return tuple(
        Place(file.relative_to(chart).as_posix(), branch)
        for file in files
        for branch in branches(file.read_text(encoding="utf-8"))
    )


def coverage(renderer: Renderer, requests: Iterable[Request]) -> Coverage:
    """Which branches of one chart its renders come through; refused values count up to where they are refused.

    Raises `ValueError` when the requests are of several charts, or there are none.
    """
    wanted = tuple(requests)
    charts = {request.chart for request in wanted}
    if len(charts) != 1:
        raise ValueError(f"Coverage needs the requests of one chart, not of {len(charts)}.")
    chart = charts.pop()
    everywhere = places(chart)
    open_places = dict(enumerate(everywhere))
    left = iter(wanted)

    def work(folder: Path) -> None:
        copy = folder / chart.name
        shutil.copytree(chart, copy)
        # One branch may be shown by two workers at once; no branch waits for another's.
        while (request := next(left, None)) is not None:
            mine = replace(request, chart=copy)
            while (hit := _first_hit(renderer, mine, chart, dict(open_places))) is not None:
                open_places.pop(hit, None)

    with (
        tempfile.TemporaryDirectory(prefix="lighthouse-coverage-") as folder,
        ThreadPoolExecutor(renderer.workers) as pool,
    ):
        list(pool.map(work, [Path(folder) / str(number) for number in range(renderer.workers)]))
    missed = tuple(open_places.values())
    return Coverage(frozenset(everywhere) - frozenset(missed), missed)


def _first_hit(renderer: Renderer, request: Request, chart: Path, marked: Mapping[int, Place]) -> int | None:
    _mark(chart, request.chart, marked)
    try:
        renderer.render(request)
    except RenderError as error:
        found = _HIT.search(str(error))
        return int(found[1]) if found else None
    return None


def _mark(chart: Path, copy: Path, marked: Mapping[int, Place]) -> None:
    """Write the copy's templates anew, with a marker in each branch that is still open."""
    files: dict[str, list[tuple[int, Branch]]] = {place.file: [] for place in places(chart)}
    for number, place in marked.items():
        files[place.file].append((number, place.branch))
    for file, entries in files.items():
        text = (chart / file).read_text(encoding="utf-8")
        for number, branch in sorted(entries, key=lambda entry: (entry[1].position, entry[0]), reverse=True):
            marker = branch.marker % f'{{{{ fail "lighthouse-branch-{number}." }}}}'
            text = text[: branch.position] + marker + text[branch.position :]
        target = copy / file
        if target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
