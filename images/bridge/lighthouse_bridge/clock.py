"""Times as the store keeps them: integer microseconds since the epoch."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    """The present in microseconds since the epoch."""
    return time.time_ns() // 1000


def iso(timestamp_us: int) -> str:
    """ISO 8601 in UTC with microseconds and offset."""
    return (_EPOCH + timedelta(microseconds=timestamp_us)).isoformat(timespec="microseconds")


def parse_iso(text: str) -> int:
    """Microseconds since the epoch of an ISO 8601 time, UTC when it names no offset; raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
