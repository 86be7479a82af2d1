"""Jittered exponential back-off."""

import random


class Backoff:
    """Waits in seconds that double up to `longest`, each shortened at random so that agents spread out."""

    def __init__(self, *, shortest: float = 0.5, longest: float = 30.0) -> None:
        self._shortest = shortest
        self._longest = longest
        self._next = shortest

    def next(self) -> float:
        """The next wait."""
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing

    def reset(self) -> None:
        """Start again with the shortest wait."""
        self._next = self._shortest
