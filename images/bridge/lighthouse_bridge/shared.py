"""What bridges share beside the store: things that may be lost without harm, so that they may be fast.

The store is the truth for sessions, experts and events. Here are copies of it that expire within a second, and
counts that only limit. Who uses it says what happens without it (SharedAwayError).
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_VALUE_BYTES = 100_000
LOCAL_ENTRIES = 100_000


class SharedAwayError(Exception):
    """What the bridges share cannot be reached now; the message says why."""


@dataclass(frozen=True)
class Rate:
    """At most `count` in any `seconds`, evenly; `burst` of them at once after a pause."""

    count: float
    seconds: float
    burst: int

    def share(self, parts: int) -> Rate:
        """The rate of one of `parts` that know nothing of each other: together they keep within this one."""
        return Rate(self.count / parts, self.seconds, max(1, self.burst // parts))

    def times(self, factor: int) -> Rate:
        """A rate that is `factor` times as high."""
        return Rate(self.count * factor, self.seconds, self.burst * factor)

    @property
    def interval_us(self) -> int:
        """Microseconds between two of them at an even pace."""
        return round(self.seconds * 1_000_000 / self.count)


class Shared(Protocol):
    """Shared state. Every method but `close` may raise SharedAwayError, soon: no caller waits long for it.

    Names are any text. Values are bytes; the caller authenticates what it would trust.
    """

    async def start(self) -> None:
        """Begin; succeeds also while what is shared is away."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...

    async def wait_for(self, name: str, rate: Rate) -> float:
        """Count one more of `name` and return 0.0, or count nothing and return the seconds until one is free."""
        ...

    async def recall(self, name: str) -> bytes | None:
        """The value kept under `name`, or None."""
        ...

    async def keep(self, name: str, value: bytes, seconds: float) -> None:
        """Keep a value for `seconds`; one beyond MAX_VALUE_BYTES is not kept."""
        ...

    async def forget(self, name: str) -> None:
        """Forget a value."""
        ...

    def generation(self) -> str | None:
        """The mark of what is valid now, the same for all bridges; None while it is not known for sure.

        It was true at some time within the last second. What was kept under another mark is void.
        """
        ...

    async def renew(self) -> None:
        """Make another generation: all that was kept under the present one is void, for every bridge."""
        ...

    async def announce(self, kind: str, text: str) -> None:
        """Tell all bridges, this one too. A message may be missed: nothing may depend on it but speed."""
        ...

    def listen(self, kind: str, listener: Callable[[str], None]) -> None:
        """Call `listener`, in the event loop, with every text announced as `kind`."""
        ...


class LocalShared:
    """The shared state of a bridge that is alone: in its own memory, bounded, and never away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, entries: int = LOCAL_ENTRIES) -> None:
        self._clock = clock
        self._entries = entries
        # Each with the time at which it expires; those used longest ago go first.
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._due: OrderedDict[str, float] = OrderedDict()
        self._generation = secrets.token_hex(8)
        self._listeners: dict[str, list[Callable[[str], None]]] = {}

    async def start(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to end."""

    async def wait_for(self, name: str, rate: Rate) -> float:
        """As Shared says."""
        return self.take(name, rate)

    def take(self, name: str, rate: Rate) -> float:
        """`wait_for`, at once."""
        now = self._clock()
        interval = rate.interval_us / 1_000_000
        due = max(self._due.get(name, now), now)
        early = due + interval - rate.burst * interval - now
        # Less than a microsecond is the arithmetic's own.
        if early > 1e-6:
            return early
        self._due[name] = due + interval
        self._due.move_to_end(name)
        if len(self._due) > self._entries:
            self._due.popitem(last=False)
        return 0.0

    async def recall(self, name: str) -> bytes | None:
        """As Shared says."""
        return self._value(name)

    async def keep(self, name: str, value: bytes, seconds: float) -> None:
        """As Shared says."""
        if len(value) <= MAX_VALUE_BYTES:
            self._put(name, value, seconds)

    async def forget(self, name: str) -> None:
        """As Shared says."""
        self._values.pop(name, None)

    def generation(self) -> str | None:
        """As Shared says."""
        return self._generation

    async def renew(self) -> None:
        """As Shared says."""
        self._generation = secrets.token_hex(8)

    async def announce(self, kind: str, text: str) -> None:
        """As Shared says."""
        for listener in self._listeners.get(kind, ()):
            listener(text)

    def listen(self, kind: str, listener: Callable[[str], None]) -> None:
        """As Shared says."""
        self._listeners.setdefault(kind, []).append(listener)

    def _value(self, key: str) -> bytes | None:
        entry = self._values.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return entry[1]

    def _put(self, key: str, value: bytes, seconds: float) -> None:
        self._values[key] = (self._clock() + seconds, value)
        self._values.move_to_end(key)
        if len(self._values) > self._entries:
            self._values.popitem(last=False)
