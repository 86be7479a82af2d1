"""Full-text search and correlation of events, and snapshots of the tree."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lighthouse_bridge.events import correlation_of
from lighthouse_bridge.migrations.upgrade import is_postgres, run

revision = "0004"
down_revision = "0003"

_PAGE = 5_000


def upgrade() -> None:
    """Add the tables, and the correlations of the events that are there; search indexes them by itself."""
    if is_postgres():
        run(
            "CREATE TABLE events_fts (sequence_id INTEGER PRIMARY KEY, content TSVECTOR NOT NULL)",
            "CREATE INDEX idx_events_fts_content ON events_fts USING gin (content)",
        )
    else:
        run(
            "CREATE VIRTUAL TABLE events_fts USING fts5("
            "content, content='', tokenize='unicode61 remove_diacritics 0')"
        )
    run(
        """CREATE TABLE event_correlations (
            correlation_id TEXT NOT NULL,
            sequence_id INTEGER NOT NULL,
            PRIMARY KEY (correlation_id, sequence_id)
        )""",
        # A gzipped JSON document of the tree; `digest` is the SHA-256 of its state.
        """CREATE TABLE snapshots (
            name TEXT PRIMARY KEY,
            sequence INTEGER NOT NULL,
            created_us INTEGER NOT NULL,
            digest TEXT NOT NULL,
            automatic INTEGER NOT NULL,
            body BLOB NOT NULL
        )""",
        "CREATE INDEX idx_snapshots_sequence ON snapshots(automatic, sequence)",
    )
    _correlate()


def _correlate() -> None:
    connection = op.get_bind()
    events = sa.table("events", sa.column("sequence_id"), sa.column("metadata"))
    found = sa.table("event_correlations", sa.column("correlation_id"), sa.column("sequence_id"))
    page = sa.select(events.c.sequence_id, events.c.metadata).order_by(events.c.sequence_id).limit(_PAGE)
    last = -1
    while rows := connection.execute(page.where(events.c.sequence_id > last)).fetchall():
        named = [
            {"correlation_id": correlation, "sequence_id": row[0]}
            for row in rows
            if row[1] and (correlation := correlation_of(row[1])) is not None
        ]
        if named:
            connection.execute(sa.insert(found), named)
        last = rows[-1][0]
