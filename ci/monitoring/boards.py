"""The dashboards, held against what programs expose, what the chart has values for, and what a panel must say."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from grafana_foundation_sdk.models import units

from ci.monitoring.queries import departures, exposed, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ci.monitoring.queries import Series

    Documents = Mapping[str, Mapping[str, Any]]

UNITS = frozenset(
    value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)
)
# What Grafana puts in place of its variables, for a reader of PromQL that knows none.
_GIVEN = {"__rate_interval": "5m", "__range": "6h", "namespace": "lighthouse", "release": "lighthouse"}
_VARIABLE = re.compile(r"\$(\w+)")
_WORD = re.compile(r"@([A-Za-z.]+)@")
# The most that the API server takes of a ConfigMap, less what is not the dashboard.
LARGEST = 1_000_000


@dataclass(frozen=True)
class Panel:
    """A panel with data, and on which dashboard it is."""

    board: str
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What a sentence calls it."""
        return f"{self.board} / {self.content.get('title') or 'a panel without a title'}"

    @property
    def queries(self) -> tuple[str, ...]:
        """Its queries, as Grafana sends them."""
        return tuple(str(target["expr"]) for target in self.content.get("targets", ()))


def panels(documents: Documents) -> tuple[Panel, ...]:
    """Every panel but the titles of rows."""
    return tuple(
        Panel(name, panel)
        for name, document in documents.items()
        for panel in document.get("panels", ())
        if panel["type"] != "row"
    )


def given(query: str) -> str:
    """A query with values in place of Grafana's variables; an unknown one stays, and is no PromQL."""
    return _VARIABLE.sub(lambda found: _GIVEN.get(found[1], found[0]), query)


def problems(documents: Documents, known: Mapping[str, Series], values: Mapping[str, Any], promtool: Path) -> Iterator[str]:  # fmt: skip
    """Everything that is wrong with dashboards, as sentences."""
    every = panels(documents)
    if not every:
        yield "There is no dashboard with a panel."
    yield from _named_twice(documents)
    for panel in every:
        yield from (f"{panel.name} {said}." for said in _unsaid(panel.content))
        for query in panel.queries:
            yield from (f"{panel.name} {departure}." for departure in departures(given(query), known))
        for word in sorted(_words(panel.content)):
            if not isinstance(_value(values, word), int | float):
                yield f"{panel.name} has the threshold {word}, which the chart has no value for."
        yield from (f"{panel.name} {said}." for said in _unpaced(panel.content, values))
    yield from _unparsed(every, promtool)


def _named_twice(documents: Documents) -> Iterator[str]:
    for what in ("uid", "title"):
        seen: dict[str, str] = {}
        for name, document in documents.items():
            if (other := seen.setdefault(document[what], name)) != name:
                yield f"{name} has the {what} of {other}."
    for name, document in documents.items():
        titles = [panel.name for panel in panels({name: document})]
        for title in sorted({title for title in titles if titles.count(title) > 1}):
            yield f"{title} is there twice."


def _unsaid(panel: Mapping[str, Any]) -> Iterator[str]:
    for field in ("title", "description"):
        if not panel.get(field):
            yield f"has no {field}"
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
    if not unit:
        yield "has no unit"
    elif unit not in UNITS:
        yield f"has the unit {unit}, which Grafana does not know"
    targets = panel.get("targets", ())
    if not targets:
        yield "has no query"
    for target in targets:
        if not target.get("legendFormat"):
            yield "has a query without a legend"
    if any(part.get("datasource", {}).get("uid") != "${datasource}" for part in (panel, *targets)):
        yield "asks another data source than the chosen one"


def _unpaced(panel: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with how often queries say that their metrics are read, of which Grafana makes a rate's window."""
    for target in panel.get("targets", ()):
        query = str(target["expr"])
        if interval := target.get("interval"):
            found = _WORD.fullmatch(interval)
            if not found or not isinstance(_value(values, found[1]), str):
                yield f"has the interval {interval}, which the chart has no value for"
        elif "$__rate_interval" in query and read([given(query)]) & exposed().keys():
            yield f"does not say how often the chart has read what it asks for: {query}"


def _words(content: Mapping[str, Any]) -> frozenset[str]:
    """The thresholds of a panel by the paths of their values."""
    steps = content.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", ())
    return frozenset(
        found[1]
        for step in steps
        if isinstance(step["value"], str) and (found := _WORD.fullmatch(step["value"]))
    )


def _value(values: Mapping[str, Any], path: str) -> Any:
    for key in path.split("."):
        if key not in values:
            return None
        values = values[key]
    return values


def _unparsed(every: tuple[Panel, ...], promtool: Path) -> Iterator[str]:
    """What Prometheus' own parser says, which is asked once about all queries: as rules in a file."""
    asked = [(panel.name, given(query)) for panel in every for query in panel.queries]
    rules = [{"record": f"query:{index}", "expr": query} for index, (_, query) in enumerate(asked)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.yaml"
        path.write_text(
            yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}), encoding="utf-8"
        )
        done = subprocess.run(
            [promtool, "check", "rules", path], capture_output=True, text=True, check=False, timeout=120
        )
    if done.returncode:
        said = done.stdout + done.stderr
        named = sorted({int(index) for index in re.findall(r'"query:(\d+)"', said)})
        for index in named:
            yield f"{asked[index][0]} asks what promtool cannot parse: {asked[index][1]}."
        if not named:
            yield f"promtool refuses the dashboards' queries: {said.strip()}."


def summary(documents: Documents) -> str:
    """The counts, in one line."""
    every = panels(documents)
    queries = [query for panel in every for query in panel.queries]
    marked = sum(bool(_words(panel.content)) for panel in every)
    return (
        f"{len(documents)} dashboards with {len(every)} panels, each with a description and a unit; "
        f"{len(queries)} queries, all parsed by promtool; {marked} panels with a threshold of values"
    )
