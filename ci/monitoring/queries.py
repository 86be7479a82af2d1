"""What a query in PromQL reads, held against what programs expose: names, labels and the labels' values."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import promql_parser
import yaml

from ci.monitoring.processes import processes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ELSEWHERE = Path(__file__).resolve().parent / "elsewhere.yaml"
SCRAPED = frozenset({"namespace", "pod", "container", "node", "job", "instance"})
"""Labels that a scrape adds to every series."""


@dataclass(frozen=True)
class Series:
    """A time series by its name: its labels, and the values of those that have a closed set."""

    name: str
    labels: frozenset[str]
    closed: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Selected:
    """A selector of a query: the name, and each label with how it is compared (`=`, `!=`, `=~`, `!~`) and with what."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]


# The library's words are not hashable.
_COMPARED = (
    (promql_parser.MatchOp.Equal, "="),
    (promql_parser.MatchOp.NotEqual, "!="),
    (promql_parser.MatchOp.Re, "=~"),
    (promql_parser.MatchOp.NotRe, "!~"),
)


def _matchers(node: promql_parser.VectorSelector) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (m.name, next(word for op, word in _COMPARED if op == m.op), m.value) for m in node.matchers.matchers
    )


def selected(query: str) -> tuple[Selected, ...]:
    """Every selector of a query; raises `ValueError` when it is no PromQL."""
    found: list[Selected] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            one = Selected(str(node.name or ""), _matchers(node))
            if one not in found:
                found.append(one)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return tuple(found)


def exposed() -> dict[str, Series]:
    """Every series that a program of Lighthouse exposes, by name; the labels of all that expose it."""
    found: dict[str, Series] = {}
    for process in processes():
        for family in process.families:
            labels = {*family.labels, *({"le"} if family.kind == "histogram" else ())}
            for name in family.series:
                before = found[name].labels if name in found else frozenset()
                found[name] = Series(name, frozenset(labels) | before, process.labels.get(family.name, {}))
    return found


def others() -> dict[str, dict[str, list[str]]]:
    """What others expose and rules may read: labels by name, by who exposes it."""
    table: dict[str, dict[str, list[str]]] = yaml.safe_load(ELSEWHERE.read_text(encoding="utf-8"))
    return table


def elsewhere() -> dict[str, Series]:
    """Every series that others expose and rules may read, by name."""
    return {
        name: Series(name, frozenset(labels), {})
        for metrics in others().values()
        for name, labels in metrics.items()
    }


def departures(query: str, known: Mapping[str, Series]) -> Iterator[str]:
    """What in a query nothing exposes, as sentences."""
    try:
        selectors = selected(query)
    except ValueError as error:
        yield f"is no PromQL: {error}"
        return
    if not selectors:
        yield "reads nothing"
    for selector in selectors:
        series = known.get(selector.name)
        if series is None:
            yield f"reads {selector.name or 'series without a name'}, which nothing exposes"
            continue
        for label, compared, value in selector.matchers:
            if label not in series.labels | SCRAPED:
                yield f"selects {selector.name} by the label {label}, which it does not have"
            elif label in series.closed and not _possible(compared, value, series.closed[label]):
                yield f"selects {selector.name} by {label}{compared}{value!r}, which it never has"


def _possible(compared: str, value: str, closed: tuple[str, ...]) -> bool:
    """Whether a comparison with a label whose values are known tells any of them from the others."""
    if compared in {"=", "!="}:
        return value in closed
    return any(re.fullmatch(value, one) for one in closed)


def read(queries: Iterable[str]) -> frozenset[str]:
    """The names that queries read; of one that is no PromQL `departures` tells."""
    names: set[str] = set()
    for query in queries:
        with suppress(ValueError):
            names |= {selector.name for selector in selected(query)}
    return frozenset(names)
