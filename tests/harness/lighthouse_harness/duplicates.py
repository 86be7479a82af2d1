"""Keys given twice: objects in a render, and members of keyed lists, which server-side apply refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .documents import freeze, join
from .findings import Finding, Verdict, verdict
from .schemas import Catalog, catalog

if TYPE_CHECKING:
    from .model import Object, Render
    from .schema_validation import Schema, Validator


def duplicate_objects(render: Render) -> Verdict:
    """Whether no two objects have the same group, kind, namespace and name."""
    counts = Counter(item.key for item in render.objects)
    found = (
        Finding(
            "duplicate/object",
            item.ref,
            "metadata.name",
            f"{counts[item.key]} times, in {item.source}",
            "rename one",
        )
        for item in render.objects
        if counts[item.key] > 1
    )
    return verdict("duplicate/object", render.objects, found)


def _lists(validator: Validator, schema: Schema, value: Any, path: str) -> Iterator[tuple[str, Schema, Any]]:
    """Every list under `value` with the schema it has, and its path."""
    schema = validator.resolve(schema)
    if isinstance(value, Mapping):
        properties, others = schema.get("properties") or {}, schema.get("additionalProperties")
        for key, item in value.items():
            below = properties.get(key, others if isinstance(others, Mapping) else None)
            if below is not None:
                yield from _lists(validator, below, item, join(path, str(key)))
    elif isinstance(value, (list, tuple)):
        yield path, schema, value
        for index, item in enumerate(value):
            if "items" in schema:
                yield from _lists(validator, schema["items"], item, join(path, index))


def _identity(validator: Validator, schema: Schema, item: Any) -> Any:
    """What tells a member of a list from the others; `None` when a list does not tell them apart."""
    match schema.get("x-kubernetes-list-type"):
        case "map":
            properties = validator.resolve(schema["items"]).get("properties") or {}
            keys = schema.get("x-kubernetes-list-map-keys") or ()
            return tuple(item.get(key, (properties.get(key) or {}).get("default")) for key in keys)
        case "set":
            return repr(freeze(item))
    return None


def _problems(chosen: Catalog, item: Object) -> Iterator[Finding]:
    schema = chosen.schema(item)
    if schema is None:
        return
    for path, listed, members in _lists(chosen.validator, schema, item.document, ""):
        seen: dict[Any, int] = {}
        for index, member in enumerate(members):
            if isinstance(member, Mapping) or listed.get("x-kubernetes-list-type") == "set":
                identity = _identity(chosen.validator, listed, member)
                if identity is None:
                    continue
                if identity in seen:
                    fix = f"merge it with [{seen[identity]}]: server-side apply refuses a key given twice"
                    yield Finding("duplicate/list", item.ref, join(path, index), identity, fix)
                seen.setdefault(identity, index)


def duplicate_keys(render: Render, known: Catalog | None = None) -> Verdict:
    """Whether no keyed list (`env`, `ports`, `volumes`, `volumeMounts` …) has two members with one key."""
    chosen = known or catalog(render.request.kubernetes)
    found = (finding for item in render.objects for finding in _problems(chosen, item))
    return verdict("duplicate/list", render.objects, found)
