"""Texts that are searched piece by piece: one search keeps the interpreter to itself until it ends, so that nothing
else is answered meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re

# What is found is no longer than the overlap, or begins and ends within one piece.
PIECE, OVERLAP = 4096, 1024
# Less than what the rules have for a call.
MAX_SECONDS = 1.5


class TooLongError(Exception):
    """The text could not be searched in time."""


def search(patterns: list[re.Pattern[str]], text: str) -> list[str | None]:
    """What each pattern finds first in a text; raises TooLongError."""
    end = time.monotonic() + MAX_SECONDS
    found: list[str | None] = [None] * len(patterns)
    for start in range(0, max(1, len(text) - OVERLAP), PIECE - OVERLAP):
        # What stands before a piece is seen by \b, what comes after it is not: that can only refuse more.
        stop = start + PIECE if start + PIECE < len(text) else len(text)
        for number, pattern in enumerate(patterns):
            match = None if found[number] is not None else pattern.search(text, start, stop)
            if match is not None:
                found[number] = match.group()
        if time.monotonic() > end:
            raise TooLongError
    return found
