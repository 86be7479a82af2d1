"""Times as the store keeps them: integer microseconds since the epoch."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """The present in microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(timestamp_us: int) -> str:
    """ISO 8601 in UTC with microseconds and offset."""
    seconds, microseconds = divmod(timestamp_us, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}+00:00"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    # Thousands of events have the same one.
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def parse_iso(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 time, UTC when it names no offset; raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
