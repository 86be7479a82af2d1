"""Counts over all events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .transactions import Connection


class Stats(msgspec.Struct, frozen=True):
    """What the store holds; times in microseconds. `missing` sequences lie between the first and the last."""

    events: int
    first_sequence: int
    last_sequence: int
    first_us: int | None
    last_us: int | None
    types: dict[str, int]
    agents: int
    aggregates: int

    @property
    def missing(self) -> int:
        """Sequences that no event has; a file that was imported may lack some."""
        return self.last_sequence - self.first_sequence + 1 - self.events if self.events else 0


def read_stats(connection: Connection) -> Stats:
    """Count. `connection` must see one moment."""
    first, last, first_us, last_us, agents, aggregates = connection.execute(
        "SELECT coalesce(min(sequence_id), 0), coalesce(max(sequence_id), 0), min(timestamp), max(timestamp), "
        "count(DISTINCT agent_id), count(DISTINCT aggregate_id) FROM events"
    ).fetchone()
    rows = connection.execute(
        "SELECT event_type, count(*) FROM events GROUP BY event_type ORDER BY event_type"
    )
    types = dict(rows.fetchall())
    return Stats(sum(types.values()), first, last, first_us, last_us, types, agents, aggregates)
