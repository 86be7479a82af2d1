"""The README of the chart: fixed text and one table of values a chart."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ci.chart.values import Value


def values_section(title: str, description: str, values: Iterable[Value], prefix: str = "") -> str:
    """A heading, a sentence and a table; `prefix` leads the path of every value."""
    rows = [f"| `{path}` | {_default(value)} | {_meaning(value)} |" for path, value in _rows(values, prefix)]
    head = [f"### {title}", "", description, "", "| Value | Default | Meaning |", "|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _rows(values: Iterable[Value], prefix: str) -> Iterator[tuple[str, Value]]:
    for value in values:
        path = f"{prefix}{value.key}"
        yield path, value
        if _listed(value):
            yield from _rows(value.children, f"{path}.")


def _listed(value: Value) -> bool:
    """Whether the keys of a mapping have rows of their own: they do when they are described."""
    return bool(value.children) and all(child.text for child in value.children)


def _default(value: Value) -> str:
    return "" if _listed(value) else f"`{_cell(json.dumps(value.default))}`"


def _meaning(value: Value) -> str:
    choices = value.schema.get("enum")
    listed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return _cell(value.text + listed)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
