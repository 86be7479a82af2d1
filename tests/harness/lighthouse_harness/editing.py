"""Counter-examples: the same render with one value set, or one field removed."""

from __future__ import annotations

from typing import Any

from .documents import MISSING, PathError, parse_path, thaw
from .model import Object, Render, make_object


def edited(item: Object, path: str, value: Any) -> Object:
    """The object with `value` at `path` (`MISSING` removes the field); mappings on the way are made.

    Raises `PathError` when the path leads through a list member that is not there.
    """
    document = thaw(item.document)
    steps = parse_path(path)
    here: Any = document
    for step in steps[:-1]:
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        elif isinstance(here, dict) and isinstance(step, str):
            here = here.setdefault(step, {})
        else:
            raise PathError(f"{item.ref} has no {path} to change.")
    _put(here, steps[-1], value, f"{item.ref} has no {path} to change.")
    return make_object(document, item.namespace, item.source)


def _put(holder: Any, step: str | int, value: Any, problem: str) -> None:
    if isinstance(holder, dict) and isinstance(step, str):
        if value is MISSING:
            holder.pop(step, None)
        else:
            holder[step] = thaw(value)
    elif isinstance(holder, list) and isinstance(step, int) and step <= len(holder):
        if value is MISSING:
            del holder[step]
        else:
            holder[step : step + 1] = [thaw(value)]
    else:
        raise PathError(problem)


def with_value(render: Render, address: str, value: Any) -> Render:
    """The render with `value` at `Kind/namespace/name path`; an index one past a list's end adds to it."""
    ref, _, path = address.partition(" ")
    chosen = render.find(ref)
    changed = edited(chosen, path, value)
    return render.with_objects(changed if item is chosen else item for item in render.objects)


def without(render: Render, address: str) -> Render:
    """The render without the field at `Kind/namespace/name path`; without the object if there is no path."""
    ref, _, path = address.partition(" ")
    if path:
        return with_value(render, address, MISSING)
    chosen = render.find(ref)
    return render.with_objects(item for item in render.objects if item is not chosen)
