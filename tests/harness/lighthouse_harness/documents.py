"""Documents and the paths into them: read-only values, addresses, label selectors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

Document = Mapping[str, Any]

EMPTY: Final[Document] = MappingProxyType({})


class Missing:
    """The type of `MISSING`; false, and different from a rendered `null`."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "<missing>"


MISSING: Final = Missing()
"""What a path gives when nothing is there."""


class PathError(ValueError):
    """A path cannot be read, or an address names no object."""


def freeze(value: Any) -> Any:
    """Return `value` with every mapping and sequence made read-only, all the way down."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    return value


def thaw(value: Any) -> Any:
    """Return plain dictionaries and lists: a copy that may be changed, dumped as JSON or YAML."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    return value


_PLAIN_KEY = re.compile(r"[A-Za-z0-9_$-]+")
_STEP = re.compile(
    r"""\.?(?P<key>[A-Za-z0-9_$-]+)
      | \[(?P<index>\d+)\]
      | \["(?P<quoted>(?:[^"\\]|\\.)*)"\]
      | \[(?P<field>[A-Za-z0-9_]+)=(?P<wanted>[^\]]+)\]""",
    re.VERBOSE,
)


def join(path: str, step: str | int) -> str:
    """Add a key or an index to a path: `join("spec", "a.b/c")` is `spec["a.b/c"]`."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    if _PLAIN_KEY.fullmatch(step):
        return f"{path}.{step}" if path else step
    escaped = step.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{escaped}"]'


@dataclass(frozen=True, slots=True)
class Member:
    """A path step that chooses a list's member by one of its fields: `[name=bridge]`."""

    field: str
    wanted: str


def parse_path(path: str) -> tuple[Any, ...]:
    """The steps of a path: strings for keys, integers for indexes, `Member` for a chosen member.

    Raises `PathError` when it cannot be read.
    """
    return tuple(_steps(path))


def _steps(path: str) -> Iterator[str | int | Member]:
    position = 0
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None:
            raise PathError(f"The path {path!r} cannot be read at character {position}: {path[position:]!r}.")
        position = step.end()
        if step["index"] is not None:
            yield int(step["index"])
        elif step["field"] is not None:
            yield Member(step["field"], step["wanted"])
        else:
            yield step["key"] if step["key"] is not None else re.sub(r"\\(.)", r"\1", step["quoted"])


def resolve(document: Any, path: str) -> Any:
    """Return the value at `path`, or `MISSING`.

    Steps are keys (`spec.replicas`), quoted keys (`metadata.labels["app.kubernetes.io/name"]`), indexes
    (`containers[0]`) and a member chosen by one of its fields (`containers[name=bridge]`).
    """
    here = document
    for step in _parsed(path):
        here = _step_into(here, step)
        if here is MISSING:
            return MISSING
    return here


_parsed = lru_cache(maxsize=20_000)(parse_path)


def _step_into(here: Any, step: str | int | Member) -> Any:
    if isinstance(step, str):
        return here[step] if isinstance(here, Mapping) and step in here else MISSING
    if not isinstance(here, (list, tuple)):
        return MISSING
    if isinstance(step, int):
        return here[step] if step < len(here) else MISSING
    chosen = (item for item in here if isinstance(item, Mapping) and str(item.get(step.field)) == step.wanted)
    return next(chosen, MISSING)


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(path, leaf)` for every scalar (and every empty mapping or sequence) under `value`."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from walk(item, join(path, str(key)))
    elif isinstance(value, (list, tuple)) and value:
        for index, item in enumerate(value):
            yield from walk(item, join(path, index))
    else:
        yield path, value


def selector_matches(selector: Document | None, labels: Mapping[str, str]) -> bool:
    """Whether a `LabelSelector` chooses `labels`: `{}` chooses everything, `None` nothing.

    Raises `ValueError` for an operator that Kubernetes does not have.
    """
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or EMPTY).items()):
        return False
    return all(_expression_matches(item, labels) for item in selector.get("matchExpressions") or ())


def _expression_matches(expression: Document, labels: Mapping[str, str]) -> bool:
    key, operator, wanted = expression["key"], expression["operator"], expression.get("values") or ()
    match operator:
        case "In":
            return key in labels and labels[key] in wanted
        case "NotIn":
            return labels.get(key) not in wanted
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            raise ValueError(
                f"The label selector operator {operator!r} is not In, NotIn, Exists or DoesNotExist."
            )
