"""Limits on the shape of free-form JSON. Pure."""

from __future__ import annotations

from typing import Any

from .problems import Problem

MAX_DEPTH = 10
MAX_KEYS = 1000
MAX_ITEMS = 10_000
MAX_INT = 2**63


def check_shape(value: Any, name: str) -> None:
    """Raise Problem 400 naming `name` when a free-form value is nested too deep, too wide or not storable."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict):
            if len(item) > MAX_KEYS:
                raise Problem(
                    400, f"{name} has an object with {len(item)} keys; at most {MAX_KEYS} are allowed."
                )
            children = [*item.keys(), *item.values()]
        elif isinstance(item, list):
            if len(item) > MAX_ITEMS:
                raise Problem(
                    400, f"{name} has a list of {len(item)} items; at most {MAX_ITEMS} are allowed."
                )
            children = item
        else:
            _check_scalar(item, name)
            continue
        if depth > MAX_DEPTH:
            raise Problem(400, f"{name} is nested deeper than {MAX_DEPTH} levels; send it flatter.")
        pending += [(child, depth + 1) for child in children]


def _check_scalar(item: Any, name: str) -> None:
    if isinstance(item, str):
        if "\0" in item:
            raise Problem(400, f"{name} contains a NUL character; remove it.")
        # A lone surrogate can be written in JSON but neither encoded nor stored.
        if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
            raise Problem(400, f"{name} contains a lone surrogate; send valid Unicode.")
    elif isinstance(item, int) and not -MAX_INT <= item < MAX_INT:
        raise Problem(400, f"{name} contains a number beyond 64 bits; send it as a string.")
