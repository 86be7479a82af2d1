"""Values that moved: a schema lets their old names through, so that the chart itself can say the new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ci.chart.values import ValuesError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Moved:
    """A value's dotted name in an earlier release, its name now, and the release that renamed it."""

    old: str
    new: str
    release: str


def read_moved(file: Path) -> list[Moved]:
    """The rows of the table; raises ValuesError on one that is not whole."""
    try:
        return [
            Moved(row["from"], row["to"], str(row["release"]))
            for row in yaml.safe_load(file.read_text())["moved"]
        ]
    except (KeyError, TypeError) as error:
        raise ValuesError(f"{file.name}: a row needs from, to and release: {error!r}.") from None


def admit_moved(schema: dict[str, Any], moved: Iterable[Moved], prefix: str = "") -> None:
    """Put the old names below `prefix` into a schema, as deprecated; raises ValuesError for one that is a value today."""
    for row in moved:
        if row.old.startswith(prefix):
            _admit(schema, row, row.old.removeprefix(prefix).split("."))


def _admit(schema: dict[str, Any], row: Moved, path: list[str]) -> None:
    # A chart that leaves a part's values to the part's own schema knows no properties of it, and admits them all.
    if "properties" not in schema:
        return
    name, *rest = path
    properties = schema["properties"]
    if rest:
        gone = {"type": "object", "deprecated": True, "additionalProperties": False, "properties": {}}
        _admit(properties.setdefault(name, gone), row, rest)
    elif name in properties:
        raise ValuesError(f"moved.yaml: {row.old} is a value of this release; take it out of the table.")
    else:
        properties[name] = {"deprecated": True, "description": f"Moved to {row.new} in {row.release}."}
