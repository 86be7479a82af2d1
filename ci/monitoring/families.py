"""Metric families: as a registry of prometheus_client has them, and as a scrape shows them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import CollectorRegistry, Metric

# What the library adds to the samples of histograms and summaries.
_ADDED = frozenset({"le", "quantile"})
_SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}


@dataclass(frozen=True, order=True)
class Family:
    """A metric as queries name it: a counter's name ends in `_total`. `labels` are sorted."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its time series."""
        return tuple(self.name + suffix for suffix in _SUFFIXES.get(self.kind, ("",)))


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def _labels(metric: Metric) -> set[str]:
    return {name for sample in metric.samples for name in sample.labels} - _ADDED


def registered(
    registry: CollectorRegistry, labels: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[Family, ...]:
    """Every family of a registry, sorted; a family that `labels` does not name has the labels of its samples.

    Raises ValueError for one that has neither: it has labels, and nothing says which, and of what values.
    """
    found = []
    for metric in registry.collect():
        name = _name(metric)
        if name not in labels and not metric.samples:
            raise ValueError(f"{name} has labels; list them with their values in LABELS of its program.")
        names = set(labels[name]) if name in labels else _labels(metric)
        found.append(Family(name, metric.type, metric.documentation, tuple(sorted(names))))
    return tuple(sorted(found))


def scraped(text: str) -> tuple[Family, ...]:
    """Every family of a scrape in Prometheus' text format, sorted, with the labels of its samples."""
    return tuple(
        sorted(
            Family(_name(metric), metric.type, metric.documentation, tuple(sorted(_labels(metric))))
            for metric in text_string_to_metric_families(text)
        )
    )


def departures(
    text: str, known: Iterable[Family], labels: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> list[str]:
    """What in a scrape differs from the known families and their labels' closed sets of values, as sentences.

    A family that has no sample yet shows no labels.
    """
    wanted, seen = (
        {family.name: family for family in known},
        {family.name: family for family in scraped(text)},
    )
    found = [f"{name} is not in the scrape" for name in sorted(wanted.keys() - seen.keys())]
    found += [f"{name} is in the scrape alone" for name in sorted(seen.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & seen.keys()):
        said, shown = wanted[name], seen[name]
        if (said.kind, said.help) != (shown.kind, shown.help):
            found.append(f"{name} is a {shown.kind} in the scrape: {shown.help}")
        if shown.labels and shown.labels != said.labels:
            found.append(f"{name} has the labels {', '.join(shown.labels)} in the scrape")
    for metric in text_string_to_metric_families(text):
        closed = labels.get(_name(metric), {})
        found += sorted(
            {
                f"{_name(metric)}: {label}={value!r} is not in its closed set"
                for sample in metric.samples
                for label, value in sample.labels.items()
                if label in closed and value not in closed[label]
            }
        )
    return found


def most_series(
    family: Family, labels: Mapping[str, Mapping[str, tuple[str, ...]]], buckets: int = 24
) -> int:
    """How many time series a process can have of a family at most; a histogram has up to `buckets` for each."""
    combinations = prod(len(values) for values in labels.get(family.name, {}).values())
    return combinations * (buckets + 2 if family.kind == "histogram" else 1)
