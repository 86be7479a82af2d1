"""Judging a document by a schema: the JSON Schema that Kubernetes and CRDs use, with every problem's path.

Null stands for an absent field, as in the API server. Unknown fields are problems wherever the schema is
strict (`additionalProperties: false`).
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from .documents import join, thaw
from .quantities import quantity

Schema = Mapping[str, Any]

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (Mapping,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_INT_RANGES: Final = {"int32": 2**31, "int64": 2**63}


@dataclass(frozen=True, slots=True)
class Problem:
    """One place where a document departs from its schema."""

    path: str
    observed: Any
    fix: str
    keyword: str
    """The rule that is broken: `unknown`, `required`, `type`, `enum`, `pattern` and so on."""


class Validator:
    """Judges documents by schemas whose `$ref`s are keys of `definitions`."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def resolve(self, schema: Schema) -> Schema:
        """The schema itself, or the definition that it refers to."""
        while "$ref" in schema:
            schema = self._definitions[schema["$ref"]]
        return schema

    def problems(self, schema: Schema, value: Any, path: str = "") -> Iterator[Problem]:
        """Every problem of `value`, deepest places included."""
        if value is None:
            return
        schema = self.resolve(schema)
        wrong = _type_problem(schema, value)
        if wrong:
            yield Problem(path, value, wrong, "type")
            return
        if isinstance(value, Mapping):
            yield from self._object(schema, value, path)
        elif isinstance(value, (list, tuple)):
            yield from self._array(schema, value, path)
        else:
            for keyword, fix in _scalar_problems(schema, value):
                yield Problem(path, value, fix, keyword)
        if "enum" in schema and thaw(value) not in schema["enum"]:
            yield Problem(path, value, f"use one of {', '.join(map(str, schema['enum']))}", "enum")
        yield from self._combined(schema, value, path)

    def _object(self, schema: Schema, value: Mapping[str, Any], path: str) -> Iterator[Problem]:
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        others = schema.get("additionalProperties", True)
        for name in schema.get("required") or ():
            if value.get(name) is None:
                yield Problem(join(path, name), None, "set it: the field is required", "required")
        for name, item in value.items():
            if name in properties:
                yield from self.problems(properties[name], item, join(path, str(name)))
            elif isinstance(others, Mapping):
                yield from self.problems(others, item, join(path, str(name)))
            elif others is False and item is not None:
                yield Problem(join(path, str(name)), item, _unknown(str(name), properties), "unknown")
        if len(value) < schema.get("minProperties", 0):
            yield Problem(path, value, f"give it at least {schema['minProperties']} fields", "minProperties")
        if len(value) > schema.get("maxProperties", len(value)):
            yield Problem(path, value, f"give it at most {schema['maxProperties']} fields", "maxProperties")

    def _array(self, schema: Schema, value: Sequence[Any], path: str) -> Iterator[Problem]:
        if "items" in schema:
            for index, item in enumerate(value):
                yield from self.problems(schema["items"], item, join(path, index))
        if len(value) < schema.get("minItems", 0):
            yield Problem(path, value, f"give it at least {schema['minItems']} items", "minItems")
        if len(value) > schema.get("maxItems", len(value)):
            yield Problem(path, value, f"give it at most {schema['maxItems']} items", "maxItems")

    def _combined(self, schema: Schema, value: Any, path: str) -> Iterator[Problem]:
        for part in schema.get("allOf") or ():
            yield from self.problems(part, value, path)
        for keyword, least, most in (("anyOf", 1, None), ("oneOf", 1, 1)):
            parts = schema.get(keyword)
            if parts:
                met = sum(not any(self.problems(part, value, path)) for part in parts)
                if met < least or (most is not None and met > most):
                    wanted = " or ".join(_shown(part) for part in parts)
                    amount = "one" if keyword == "oneOf" else "at least one"
                    yield Problem(path, value, f"meet {amount} of: {wanted} ({met} met)", keyword)
        if "not" in schema and not any(self.problems(schema["not"], value, path)):
            yield Problem(path, value, f"do not let it be {_shown(schema['not'])}", "not")


def _shown(schema: Schema) -> str:
    if "required" in schema:
        return f"has {', '.join(schema['required'])}"
    return str(schema.get("type") or thaw(schema))


def _unknown(name: str, properties: Mapping[str, Schema]) -> str:
    close = difflib.get_close_matches(name, properties, n=1)
    return f"remove it: the schema has no such field{f', but it has {close[0]}' if close else ''}"


def _type_problem(schema: Schema, value: Any) -> str:
    if schema.get("x-kubernetes-int-or-string") or schema.get("format") == "int-or-string":
        right = isinstance(value, (int, str)) and not isinstance(value, bool)
        return "" if right else "give it an integer or a string"
    if schema.get("format") == "quantity" and not isinstance(value, str):
        return "" if isinstance(value, (int, float)) and not isinstance(value, bool) else "write a quantity"
    wanted = schema.get("type")
    if wanted is None:
        return ""
    right = isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        right = True
    return "" if right else f"give it a value of type {wanted}, not {_type_name(value)}"


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return next((name for name, types in _TYPES.items() if isinstance(value, types)), type(value).__name__)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _scalar_problems(schema: Schema, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from _string_problems(schema, value)
        return
    if isinstance(value, bool):
        return
    bound = _INT_RANGES.get(schema.get("format", ""))
    if bound and not -bound <= value < bound:
        yield "format", f"use a number that fits {schema['format']}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value < low or (schema.get("exclusiveMinimum") is True and value == low)):
        yield "minimum", f"use at least {low}"
    if high is not None and (value > high or (schema.get("exclusiveMaximum") is True and value == high)):
        yield "maximum", f"use at most {high}"


def _string_problems(schema: Schema, value: str) -> Iterator[tuple[str, str]]:
    if "pattern" in schema and not _compiled(schema["pattern"]).search(value):
        yield "pattern", f"match {schema['pattern']}"
    if len(value) < schema.get("minLength", 0):
        yield "minLength", f"give it at least {schema['minLength']} characters"
    if len(value) > schema.get("maxLength", len(value)):
        yield "maxLength", f"give it at most {schema['maxLength']} characters"
    match schema.get("format"):
        case "byte":
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error:
                yield "format", "write it as base64"
        case "quantity":
            try:
                quantity(value)
            except ValueError:
                yield "format", "write a quantity such as 500m or 1Gi"
