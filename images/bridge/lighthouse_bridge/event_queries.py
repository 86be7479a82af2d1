"""Which events are wanted, and how they are found; full-text search over what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from .events import StreamLine, decode_record, read_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .transactions import Connection, Transaction

# Indexing is a write: others wait for so many events.
INDEX_PAGE = 250
# Events may have a megabyte each. So many are read at once, and what one answer holds ends behind so many bytes.
CHUNK = 32
MAX_BYTES = 16 * 1024 * 1024
# The engines take no word beyond some two thousand bytes, and PostgreSQL no more than a megabyte of them.
_MAX_WORD = 200
_MAX_WORDS = 20_000
_WORD = re.compile(r"[^\W_]+")


class Filters(msgspec.Struct, frozen=True):
    """What events must be like; every part that is given must hold. Times in microseconds, ends included."""

    types: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    after_sequence: int | None = None
    until_sequence: int | None = None
    start_us: int | None = None
    end_us: int | None = None
    correlation: str | None = None
    text: str | None = None


class Found(msgspec.Struct, frozen=True):
    """Events, in order, and whether there are more behind them."""

    events: list[StreamLine]
    more: bool


def find_events(
    connection: Connection, filters: Filters, order: str, limit: int, *, descending: bool, dialect: str
) -> Found:
    """Events that pass the filters, by `sequence` or by `timestamp` and then sequence.

    At most `limit`, and fewer where these would be more than about MAX_BYTES.
    """
    clauses, values = _clauses(filters, dialect)
    way = " DESC" if descending else ""
    by = {"sequence": f"e.sequence_id{way}", "timestamp": f"e.timestamp{way}, e.sequence_id{way}"}[order]
    rows = connection.execute(
        f"SELECT e.sequence_id FROM events e WHERE {' AND '.join(clauses)} "  # noqa: S608 - clauses are constants
        f"ORDER BY {by} LIMIT ?",
        (*values, limit + 1),
    ).fetchall()
    wanted = [sequence for (sequence,) in rows[:limit]]
    events: list[StreamLine] = []
    size = 0
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        contents = _contents(connection, chunk)
        for sequence in chunk:
            if size >= MAX_BYTES:
                return Found(events, more=True)
            events.append(read_line(sequence, contents[sequence]))
            size += len(contents[sequence])
    return Found(events, more=len(rows) > limit)


def _contents(connection: Connection, sequences: Sequence[int]) -> dict[int, str]:
    places = ", ".join("?" * len(sequences))
    query = f"SELECT sequence_id, event_data FROM events WHERE sequence_id IN ({places})"  # noqa: S608 - as above
    return dict(connection.execute(query, sequences).fetchall())


def _clauses(filters: Filters, dialect: str) -> tuple[list[str], list[Any]]:
    clauses, values = ["1 = 1"], list[Any]()
    for column, wanted in (
        ("e.event_type", filters.types),
        ("e.aggregate_id", filters.aggregates),
        ("e.agent_id", filters.agents),
    ):
        if wanted:
            clauses.append(f"{column} IN ({', '.join('?' * len(wanted))})")
            values += wanted
    for clause, value in (
        ("e.sequence_id > ?", filters.after_sequence),
        ("e.sequence_id <= ?", filters.until_sequence),
        ("e.timestamp >= ?", filters.start_us),
        ("e.timestamp <= ?", filters.end_us),
        (
            "e.sequence_id IN (SELECT sequence_id FROM event_correlations WHERE correlation_id = ?)",
            filters.correlation,
        ),
    ):
        if value is not None:
            clauses.append(clause)
            values.append(value)
    if filters.text is not None:
        words = words_of(filters.text)
        # A text without a word is found nowhere.
        clauses.append(_MATCH[dialect] if words else "1 = 0")
        values += [_JOIN[dialect].join(_QUOTED[dialect].format(word) for word in words)] if words else []
    return clauses, values


_MATCH = {
    "sqlite": "e.sequence_id IN (SELECT rowid FROM events_fts WHERE events_fts MATCH ?)",
    "postgresql": (
        "e.sequence_id IN (SELECT sequence_id FROM events_fts WHERE content @@ CAST(? AS tsquery))"
    ),
}
_QUOTED = {"sqlite": '"{}"', "postgresql": "'{}'"}
_JOIN = {"sqlite": " ", "postgresql": " & "}
_INDEX = {
    "sqlite": "INSERT INTO events_fts (rowid, content) VALUES (?, ?)",
    "postgresql": (
        "INSERT INTO events_fts (sequence_id, content) VALUES (?, array_to_tsvector(string_to_array(?, ' ')))"
    ),
}


def words_of(text: str) -> list[str]:
    """The words of a text as both engines keep them: letters and digits, in lower case, each once."""
    words = dict.fromkeys(word[:_MAX_WORD] for word in _WORD.findall(text.lower()))
    return list(words)[:_MAX_WORDS]


def index_page(transaction: Transaction, dialect: str) -> bool:
    """Index the next events for full-text search; whether more are waiting.

    Done behind the appending and before a search, so that nobody who appends waits for it.
    """
    connection = transaction.connection
    row = connection.execute("SELECT value FROM store_metadata WHERE key = 'events_fts'").fetchone()
    rows = connection.execute(
        "SELECT sequence_id, event_data FROM events WHERE sequence_id > ? ORDER BY sequence_id LIMIT ?",
        (int(row[0]) if row else 0, INDEX_PAGE),
    ).fetchall()
    if not rows:
        return False
    connection.executemany(_INDEX[dialect], [(sequence, _said(data)) for sequence, data in rows])
    connection.execute(
        "INSERT INTO store_metadata (key, value, updated_at) VALUES ('events_fts', ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (str(rows[-1][0]), transaction.now_us // 1_000_000),
    )
    return len(rows) == INDEX_PAGE


def _said(event_data: str) -> str:
    record = decode_record(event_data)
    parts = [record.event_type, record.agent_id or "", record.aggregate_id or ""]
    parts += _texts(msgspec.json.decode(record.data))
    return " ".join(words_of(" ".join(parts)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield str(value)
