"""A bounded memory that forgets by age and by use."""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
# More hits than this make an entry hot.
HOT = 10


class _Entry(Generic[T]):
    __slots__ = ("expires", "hits", "value")

    def __init__(self, value: T, expires: float) -> None:
        self.value = value
        self.expires = expires
        self.hits = 0


class Memo(Generic[T]):
    """At most `entries` values, each for `seconds`. When it is full the longest unused goes; a hot one, asked for
    more than ten times, gets a second turn first. Safe to use from several threads."""

    def __init__(self, entries: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = entries
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> T | None:
        """The value, or None when there is none or it is too old."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.expires <= self._clock():
                del self._entries[key]
                return None
            entry.hits += 1
            self._entries.move_to_end(key)
            return entry.value

    def put(self, key: str, value: T) -> None:
        """Remember a value from now on."""
        with self._lock:
            self._entries[key] = _Entry(value, self._clock() + self._seconds)
            self._entries.move_to_end(key)
            while len(self._entries) > self._limit:
                oldest, entry = self._entries.popitem(last=False)
                if entry.hits > HOT:
                    entry.hits = 0
                    self._entries[oldest] = entry

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
