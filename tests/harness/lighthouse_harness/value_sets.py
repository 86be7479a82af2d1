"""Values drawn from a chart's schema, for property tests: sets that it admits, and sets that it must refuse.

A set changes a few keys of the defaults, as users do, so that a failure shrinks to the key that causes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st
from jsonschema import Draft7Validator

from .chart import ChartError, subcharts
from .manifests import merge
from .schema_values import HOSTILE, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_WRONG: Final = (7.5, "¿text?", True, ["¿"], {"unknownKey": "¿"}, -1)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a chart's values."""

    path: tuple[str, ...]
    schema: str = field(repr=False)
    """Its schema as JSON, complete with definitions."""

    @property
    def dotted(self) -> str:
        """The path as people write it: `bridge.image.tag`."""
        return ".".join(self.path)

    def nested(self, value: Any) -> dict[str, Any]:
        """A values tree that sets only this key."""
        for name in reversed(self.path):
            value = {name: value}
        result: dict[str, Any] = value
        return result

    def admits(self, value: Any) -> bool:
        """Whether the schema of this key admits `value`."""
        return bool(_validator(self.schema).is_valid(value))


@lru_cache(maxsize=1024)
def _validator(schema: str) -> Draft7Validator:
    return Draft7Validator(json.loads(schema))


def _schema(chart: Path) -> dict[str, Any]:
    file = chart / "values.schema.json"
    if not file.is_file():
        raise ChartError(f"{chart} has no values.schema.json to draw values from.")
    loaded: dict[str, Any] = json.loads(file.read_bytes())
    return loaded


def keys(chart: Path) -> tuple[Key, ...]:
    """Every key that the schemas of a chart and of its subcharts name, but what they call deprecated.

    Raises `ChartError` without a schema.
    """
    found = {key.path: key for key in _keys(_schema(chart), ())}
    for subchart in subcharts(chart):
        if (subchart.path / "values.schema.json").is_file():
            for key in keys(subchart.path):
                if key.path[0] not in {"global", "enabled"}:
                    path = (subchart.name, *key.path)
                    found[path] = Key(path, key.schema)
    return tuple(found.values())


def _keys(
    root: Mapping[str, Any], path: tuple[str, ...], node: Mapping[str, Any] | None = None
) -> Iterator[Key]:
    shared = {name: root[name] for name in ("definitions", "$defs") if name in root}
    for name, schema in ((root if node is None else node).get("properties") or {}).items():
        if schema.get("deprecated"):
            continue
        yield Key((*path, name), json.dumps({**schema, **shared}))
        yield from _keys(root, (*path, name), schema)


@dataclass(frozen=True, slots=True)
class ValueSet:
    """Values to lay over a chart's defaults, and the keys that they set."""

    values: Mapping[str, Any]
    keys: tuple[str, ...]


@lru_cache(maxsize=1024)
def _strategy(schema: str) -> st.SearchStrategy[Any]:
    return values_of(json.loads(schema))


def admitted(choices: Sequence[Key], at_most: int = 4) -> st.SearchStrategy[ValueSet]:
    """Sets that the schema admits: up to `at_most` keys, each with a value drawn from its own schema."""

    @st.composite
    def value_sets(draw: st.DrawFn) -> ValueSet:
        places = st.lists(st.integers(0, len(choices) - 1), min_size=1, max_size=at_most, unique=True)
        chosen = [choices[place] for place in draw(places)]
        values: dict[str, Any] = {}
        for key in chosen:
            values = merge(values, key.nested(draw(_strategy(key.schema))))
        return ValueSet(values, tuple(key.dotted for key in chosen))

    return value_sets()


def hostile(key: Key) -> tuple[ValueSet, ...]:
    """Sets that the schema admits, with text that a template must quote: as the value, in a list, in a map."""
    shapes = (shape for text in HOSTILE for shape in (text, [text], {"key": text}))
    return tuple(ValueSet(key.nested(value), (key.dotted,)) for value in shapes if key.admits(value))


def refused(key: Key) -> tuple[ValueSet, ...]:
    """Sets that the schema must refuse: this key with a value or two of the wrong kind."""
    wrong = (value for value in _WRONG if not key.admits(value))
    return tuple(ValueSet(key.nested(value), (key.dotted,)) for value in list(wrong)[:2])
