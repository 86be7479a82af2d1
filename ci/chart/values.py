"""A values file as a tree of described values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

MARK = "@schema"


class ValuesError(Exception):
    """A values file that cannot be understood; its text is one sentence with file, line and way out."""


@dataclass(frozen=True)
class Value:
    """One key of a values file.

    `text` is its description in one line, `schema` what its annotation says
    (empty when it has none), `children` the keys of a mapping.
    """

    key: str
    default: Any
    text: str
    schema: dict[str, Any]
    children: tuple[Value, ...]
    place: str

    @property
    def shaped(self) -> bool:
        """Whether the annotation alone, and not the default, says which keys are allowed."""
        return "$ref" in self.schema or "patternProperties" in self.schema


def read_values(path: Path) -> tuple[Value, ...]:
    """The values of a file in their order; raises ValuesError."""
    source = path.read_text()
    root = yaml.compose(source, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise ValuesError(f"{path} is not a mapping of values; write one key a line.")
    return _children(root, yaml.safe_load(source), source.splitlines(), path)


def _children(
    node: yaml.MappingNode, defaults: dict[str, Any], lines: list[str], path: Path
) -> tuple[Value, ...]:
    values = []
    for key_node, value_node in node.value:
        key = str(key_node.value)
        place = f"{path}:{key_node.start_mark.line + 1}"
        text, schema = _comment(key_node.start_mark, lines, place)
        children: tuple[Value, ...] = ()
        if isinstance(value_node, yaml.MappingNode):
            children = _children(value_node, defaults[key], lines, path)
        values.append(Value(key, defaults[key], text, schema, children, place))
    return tuple(values)


def _comment(mark: yaml.Mark, lines: list[str], place: str) -> tuple[str, dict[str, Any]]:
    """The description and the annotation in the comment that ends on the line above a key."""
    prefix = " " * mark.column + "#"
    start = mark.line
    while start > 0 and lines[start - 1].startswith(prefix):
        start -= 1
    prose: list[str] = []
    annotation: list[str] = []
    inside = False
    for line in lines[start : mark.line]:
        content = line.removeprefix(prefix).removeprefix(" ")
        if content.strip() == MARK:
            inside = not inside
        else:
            (annotation if inside else prose).append(content)
    if inside:
        raise ValuesError(f"{place}: the comment opens {MARK} and does not close it; add a line `# {MARK}`.")
    try:
        schema = yaml.safe_load("\n".join(annotation)) or {}
    except yaml.YAMLError as error:
        raise ValuesError(f"{place}: the {MARK} text is not YAML ({error}); correct it.") from None
    if not isinstance(schema, dict):
        raise ValuesError(f"{place}: the {MARK} text is {schema!r}; write a mapping.")
    return " ".join(prose).strip(), schema
