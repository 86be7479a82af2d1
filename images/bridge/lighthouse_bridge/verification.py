"""Whether the events are what was appended: the hash chain, walked a page at a time.

The chain finds every row that was changed, removed, inserted or moved by whoever did not also rewrite the hashes of
all rows after it. A tail that was cut off, and a chain that was rewritten to its end, are found against a head that
was kept: `kept_head` has one in the store, and one that was saved elsewhere is stronger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .chain import COLUMNS, GENESIS, Head, row_hash
from .event_queries import CHUNK, MAX_BYTES
from .events import decode_record, legacy_checksum

if TYPE_CHECKING:
    from .transactions import Connection

MAX_PROBLEMS = 100
_DATA = COLUMNS.index("event_data")
_QUERY = (
    f"SELECT {', '.join(COLUMNS)}, row_hash FROM events "  # noqa: S608 - made of constants
    "WHERE sequence_id > ? ORDER BY sequence_id LIMIT ?"
)


class Page(msgspec.Struct, frozen=True):
    """What a page showed: where it ends, its gaps (first and last missing sequence), what is wrong."""

    head: Head
    count: int
    more: bool
    gaps: list[tuple[int, int]]
    problems: list[str]


def verify_page(connection: Connection, start: Head, limit: int) -> Page:
    """Check at most `limit` rows after `start`, whose hash must be right, or about MAX_BYTES of them."""
    sequence, digest, timestamp = start.sequence, start.hash, start.timestamp_us
    gaps: list[tuple[int, int]] = []
    problems: list[str] = []
    count = size = 0
    more = True
    while more and count < limit and size < MAX_BYTES:
        asked = min(CHUNK, limit - count)
        rows = connection.execute(_QUERY, (sequence, asked)).fetchall()
        for row in rows:
            columns, stored = tuple(row[:-1]), row[-1]
            if columns[0] != sequence + 1:
                gaps.append((sequence + 1, columns[0] - 1))
            expected = row_hash(digest, columns)
            if stored != expected:
                problems.append(_broken(sequence, columns[0], stored))
            problems += _content(columns)
            # Go on from what is stored, so that each break is told once, where it is.
            sequence, digest, timestamp = columns[0], stored or expected, columns[3]
            size += len(columns[_DATA])
        count += len(rows)
        more = len(rows) == asked
    return Page(Head(sequence, timestamp, digest), count, more, gaps, problems[:MAX_PROBLEMS])


def _broken(before: int, sequence: int, stored: bytes | None) -> str:
    if stored is None:
        return f"event {sequence} has no hash: it was inserted by something other than a bridge"
    where = f"between {before} and {sequence}" if sequence != before + 1 else f"right before {sequence}"
    return (
        f"event {sequence} does not follow from event {before}: it was changed or moved, or events {where} were "
        "removed or inserted"
    )


def _content(columns: tuple[object, ...]) -> list[str]:
    sequence, event_id, event_type, *_, event_data, _metadata, checksum, _created = columns
    try:
        record = decode_record(str(event_data))
        data = msgspec.json.decode(record.data)
    except msgspec.MsgspecError:
        return [f"event {sequence} holds no readable event"]
    found = []
    if (record.event_id, record.event_type) != (event_id, event_type):
        found.append(f"event {sequence} names another event in its data than in its columns")
    if checksum != legacy_checksum(int(str(sequence)), str(event_id), str(event_type), data):
        found.append(f"event {sequence} has data that its checksum does not fit")
    return found


def stored_head(connection: Connection, sequence: int | None) -> Head | None:
    """The head of the store, or as it was after an event; None when there is no such event."""
    if sequence == 0:
        return Head(0, 0, GENESIS)
    clause, values = ("WHERE sequence_id = ? ", (sequence,)) if sequence is not None else ("", ())
    row = connection.execute(
        f"SELECT sequence_id, timestamp, row_hash FROM events {clause}"  # noqa: S608 - made of constants
        "ORDER BY sequence_id DESC LIMIT 1",
        values,
    ).fetchone()
    if row is None:
        return None if sequence is not None else Head(0, 0, GENESIS)
    return Head(row[0], row[1], row[2] or GENESIS)
