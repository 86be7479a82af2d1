"""A hypothesis strategy for the values that a JSON Schema admits, as charts write schemas.

Text is limited to words that YAML reads as themselves, so that a failure tells of the chart's logic; whether a
template quotes what it must is asked on its own, with `HOSTILE`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from hypothesis import strategies as st
from jsonschema import Draft7Validator

from .manifests import ManifestError, load_yaml

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORDS: Final = st.text(_LETTERS + "-", max_size=12).map(lambda text: f"w{text}".rstrip("-")) | st.just("")
HOSTILE: Final = ("0123", "1e3", "true", "null", "a: b", "x #y", "*z", '"', "{{ v }}", "ünï")
"""Text that YAML reads as something else where a template forgot to quote it."""
_NAMES: Final = st.text(_LETTERS, min_size=1, max_size=8).map(lambda text: f"k{text}")
_LARGEST: Final = 100_000


def values_of(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> st.SearchStrategy[Any]:
    """Values that `schema` admits; `$ref`s are looked up in `root`, which is the schema itself if not given.

    Raises `ValueError` for a type that JSON Schema does not have.
    """
    top = schema if root is None else root
    strategy = _values(schema, top)
    complete = {**schema, **{name: top[name] for name in ("definitions", "$defs") if name in top}}
    return strategy.filter(Draft7Validator(complete).is_valid)


def _values(schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return st.deferred(lambda: values_of(_referred(schema["$ref"], root), root))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return st.one_of([_values(part, root) for part in schema[keyword]])
    kinds = schema.get("type", ["string", "integer", "boolean"])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of([_of_type(kind, schema, root) for kind in kinds])


def _referred(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    here: Any = root
    for step in reference.removeprefix("#/").split("/"):
        here = here[step]
    found: Mapping[str, Any] = here
    return found


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    strategies: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "null": st.none,
        "boolean": st.booleans,
        "integer": lambda: st.integers(*_range(schema)),
        "number": lambda: st.floats(*_range(schema), allow_nan=False),
        "string": lambda: _text(schema),
        "array": lambda: _array(schema, root),
        "object": lambda: _object(schema, root),
    }
    if kind not in strategies:
        raise ValueError(f"{kind!r} is not a type of JSON Schema.")
    return strategies[kind]()


def _range(schema: Mapping[str, Any]) -> tuple[int, int]:
    low = schema.get("minimum", 0)
    return low, schema.get("maximum", low + _LARGEST)


def _array(schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[list[Any]]:
    items = values_of(schema["items"], root) if "items" in schema else _WORDS
    least = schema.get("minItems", 0)
    # Two members with one key are the user's mistake, and most lists of mappings have a key.
    most = 1 if "properties" in schema.get("items", {}) else 3
    return st.lists(items, min_size=least, max_size=schema.get("maxItems", least + most), unique_by=repr)


def _text(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" not in schema:
        return _WORDS
    # Unanchored patterns would admit any text around the match, and `$` a line break after it.
    pattern = schema["pattern"].removesuffix("$")
    alphabet = st.characters(min_codepoint=32, max_codepoint=126)
    return st.from_regex(re.compile(rf"(?:{pattern})\Z", re.ASCII), alphabet=alphabet).filter(_is_plain)


def _is_plain(text: str) -> bool:
    """Whether YAML reads the text as itself even without quotes."""
    try:
        return bool(text == "" or load_yaml(f"key: {text}") == {"key": text})
    except ManifestError:
        return False


def _object(schema: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    properties = {name: values_of(part, root) for name, part in (schema.get("properties") or {}).items()}
    required = {name: properties.pop(name) for name in schema.get("required") or () if name in properties}
    strategies = [st.fixed_dictionaries(required, optional=properties)]
    for pattern, part in (schema.get("patternProperties") or {}).items():
        names = _text({"pattern": pattern})
        strategies.append(st.dictionaries(names, values_of(part, root), max_size=3))
    others = schema.get("additionalProperties", True)
    if isinstance(others, Mapping):
        named = schema.get("propertyNames")
        names = values_of(named, root) if named else _NAMES
        strategies.append(st.dictionaries(names, values_of(others, root), max_size=3))
    return st.tuples(*strategies).map(
        lambda parts: {key: value for part in reversed(parts) for key, value in part.items()}
    )
