"""Which pods should do what, by the machines they run on. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def spread(places: Mapping[int, str], count: int, taken: Iterable[str] = ()) -> list[int]:
    """Choose pods on as many machines as possible, given machines that are taken already; ties by number."""
    used = Counter(taken)
    left = sorted(places)
    chosen: list[int] = []
    while left and len(chosen) < count:
        best = min(left, key=lambda pod: (used[places[pod]], pod))
        left.remove(best)
        used[places[best]] += 1
        chosen.append(best)
    return sorted(chosen)


def together(places: Mapping[int, str], follows: Mapping[int, int]) -> dict[int, int]:
    """Two replicas that should change their primaries, so that fewer share a machine with their own.

    `follows` is each replica's primary. Empty when no exchange of two helps.
    """

    def shared(pod: int, primary: int) -> bool:
        return places[pod] == places[primary]

    for pod, primary in sorted(follows.items()):
        if not shared(pod, primary):
            continue
        for other, its in sorted(follows.items()):
            if its == primary:
                continue
            now = 1 + shared(other, its)
            if shared(pod, its) + shared(other, primary) < now:
                return {pod: its, other: primary}
    return {}
