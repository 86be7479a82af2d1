"""Node numbers: made from what a node is, so that any process gives the same node the same number.

The top four bits say which part of the tree the node belongs to, so that a number alone tells who knows it.
In history the next twelve bits are the number of the view. The rest is a hash; a second node that falls on a
number in use is moved to another one, and told so.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b


class Area(IntEnum):
    """The parts of the tree."""

    CURRENT = 1
    SHADOWS = 2
    HISTORY = 3
    CONTEXT = 4
    STREAMS = 5
    DEBUG = 6


_SHIFT, _VIEW_SHIFT = 60, 48
VIEWS = 1 << (_SHIFT - _VIEW_SHIFT)


def number(area: Area, key: bytes) -> int:
    """The number of the node that `key` stands for in `area`."""
    value = int.from_bytes(blake2b(key, digest_size=8).digest())
    return area << _SHIFT | value & (1 << _SHIFT) - 1


def view_number(view: int, key: bytes) -> int:
    """The number of the node that `key` stands for in a view of history."""
    value = int.from_bytes(blake2b(key, digest_size=8).digest())
    return Area.HISTORY << _SHIFT | view << _VIEW_SHIFT | value & (1 << _VIEW_SHIFT) - 1


def area_of(nodeid: int) -> int:
    """Which part of the tree a number belongs to."""
    return nodeid >> _SHIFT


def view_of(nodeid: int) -> int:
    """Which view of history a number belongs to."""
    return nodeid >> _VIEW_SHIFT & VIEWS - 1


def moved(nodeid: int, area: Area) -> int:
    """The number of the like node in another area."""
    return area << _SHIFT | nodeid & (1 << _SHIFT) - 1
