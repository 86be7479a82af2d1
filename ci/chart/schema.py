"""The JSON Schema of a values file: strict, so that a misspelt key is refused by its name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ci.chart.values import MARK, Value, ValuesError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Draft 7 is what every Helm 3 and 4 understands.
DIALECT = "http://json-schema.org/draft-07/schema#"
TYPES: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
REFERENCE = "#/definitions/"


def component_schema(title: str, values: Iterable[Value], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a subchart. Helm hands it `global`, and `enabled` is the condition of its parent."""
    added = {
        "enabled": {"type": "boolean", "description": "Whether the component is installed."},
        "global": {"type": "object", "description": "What all charts of a release share."},
    }
    return _document(title, _object(values, definitions), added, definitions)


def umbrella_schema(
    title: str,
    values: Iterable[Value],
    components: Iterable[str],
    libraries: Iterable[str],
    definitions: Mapping[str, Any],
) -> dict[str, Any]:
    """The schema of the umbrella. The keys of a component are open here: its own schema judges them."""
    schema = _object(values, definitions)
    for name in components:
        schema["properties"][name]["additionalProperties"] = True
    # Helm makes a key for a library too, since it is a dependency, and puts `global` into it.
    added: dict[str, Any] = {
        name: {"type": "object", "additionalProperties": False, "properties": {"global": {"type": "object"}}}
        for name in libraries
    }
    added["enabled"] = {
        "type": "boolean",
        "description": "The condition of a chart that depends on this one.",
    }
    return _document(title, schema, added, definitions)


def _document(
    title: str, schema: dict[str, Any], added: dict[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    schema["properties"] = added | schema["properties"]
    used = {name: definitions[name] for name in sorted(_references(schema, definitions))}
    return {"$schema": DIALECT, "title": title, **schema, "definitions": used}


def _object(values: Iterable[Value], definitions: Mapping[str, Any]) -> dict[str, Any]:
    properties = {value.key: _value(value, definitions) for value in values}
    # Defaults fill every key, so one can only be missing when it was set to null.
    required = sorted(key for key, schema in properties.items() if "null" not in schema.get("type", ()))
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _value(value: Value, definitions: Mapping[str, Any]) -> dict[str, Any]:
    if not value.text:
        raise ValuesError(f"{value.place}: {value.key} has no description; write one in a comment above it.")
    if "$ref" in value.schema:
        # In place, since draft 7 ignores what stands beside a $ref and errors are shorter without one.
        return {"description": value.text, **_definition(value.schema["$ref"], definitions)}
    if value.shaped or "type" in value.schema or "enum" in value.schema:
        inferred: dict[str, Any] = {}
    elif value.children:
        inferred = _object(value.children, definitions)
    elif type(value.default) in TYPES:
        inferred = {"type": TYPES[type(value.default)]}
    else:
        shown = json.dumps(value.default)
        raise ValuesError(f"{value.place}: {value.key} is {shown}, which tells no type; add an {MARK}.")
    return {"description": value.text, **inferred, **value.schema}


def _definition(reference: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    name = reference.removeprefix(REFERENCE)
    if name not in definitions:
        known = ", ".join(sorted(definitions))
        raise ValuesError(f"$ref {reference!r} names no definition; use one of {known}.")
    definition: dict[str, Any] = definitions[name]
    return definition


def _references(schema: Any, definitions: Mapping[str, Any]) -> set[str]:
    """The names of all definitions that a schema reaches."""
    found: set[str] = set()
    open_ends = [schema]
    while open_ends:
        node = open_ends.pop()
        if isinstance(node, list):
            open_ends.extend(node)
        elif isinstance(node, dict):
            open_ends.extend(node.values())
            reference = node.get("$ref")
            if reference and reference.removeprefix(REFERENCE) not in found:
                found.add(reference.removeprefix(REFERENCE))
                open_ends.append(_definition(reference, definitions))
    return found
