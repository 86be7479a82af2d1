"""A chart on disk: its content digest, its subcharts and its values, without running Helm."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .manifests import load_yaml, merge

if TYPE_CHECKING:
    from pathlib import Path


class ChartError(ValueError):
    """The path holds no chart, or a file of it cannot be read."""


@dataclass(frozen=True, slots=True)
class Subchart:
    """A dependency that lies in the parent's `charts` folder."""

    name: str
    """The key of its values: the alias, or else the name."""
    path: Path


def chart_metadata(chart: Path) -> dict[str, Any]:
    """`Chart.yaml` as a mapping. Raises `ChartError` when there is none."""
    file = chart / "Chart.yaml"
    if not file.is_file():
        raise ChartError(f"{chart} is not a chart: it has no Chart.yaml; name the folder that holds one.")
    metadata = load_yaml(file.read_text(encoding="utf-8"))
    if not isinstance(metadata, dict):
        raise ChartError(f"{file} is not a mapping; a chart needs at least apiVersion, name and version.")
    return metadata


def subcharts(chart: Path) -> tuple[Subchart, ...]:
    """The unpacked subcharts of a chart, with their aliases, one for each use."""
    aliases: dict[str, list[str]] = {}
    for dependency in chart_metadata(chart).get("dependencies") or ():
        aliases.setdefault(str(dependency["name"]), []).append(
            str(dependency.get("alias") or dependency["name"])
        )
    found = []
    for file in sorted((chart / "charts").glob("*/Chart.yaml")):
        name = str(chart_metadata(file.parent).get("name"))
        found += [Subchart(alias, file.parent) for alias in aliases.get(name, [name])]
    return tuple(found)


def default_values(chart: Path) -> dict[str, Any]:
    """The chart's `values.yaml` with its subcharts' under their names, as templates see them."""
    values: dict[str, Any] = {}
    for subchart in subcharts(chart):
        values[subchart.name] = default_values(subchart.path)
    file = chart / "values.yaml"
    own = load_yaml(file.read_text(encoding="utf-8")) if file.is_file() else None
    return merge(values, own or {})


def chart_digest(chart: Path) -> str:
    """SHA-256 over every file's path and content. Raises `ChartError` when `chart` is none."""
    chart_metadata(chart)
    files = tuple(sorted(path for path in chart.rglob("*") if path.is_file()))
    state = tuple((str(path), *_state(path)) for path in files)
    return _digest(chart, files, state)


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=256)
def _digest(chart: Path, files: tuple[Path, ...], state: tuple[tuple[str, int, int], ...]) -> str:
    """`state` only makes the memo notice a change on disk."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(chart).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
