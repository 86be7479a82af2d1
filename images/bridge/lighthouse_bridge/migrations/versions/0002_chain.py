"""The hash chain, one order for what a commit makes at once, and what several bridges need of one store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lighthouse_bridge.chain import COLUMNS, GENESIS, row_hash
from lighthouse_bridge.migrations.upgrade import is_postgres, run

revision = "0002"
down_revision = "0001"

_PAGE = 5_000


def upgrade() -> None:
    """Add columns and tables, and chain the events that are there."""
    run(
        "ALTER TABLE events ADD COLUMN row_hash BLOB",
        # The event that came with a row; rows of one commit have the same time.
        "ALTER TABLE sessions ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE work_items ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE standing_approvals ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0",
        # A bridge whose connection broke in a commit sees here whether it was made.
        """CREATE TABLE store_writers (
            writer_id TEXT PRIMARY KEY,
            token TEXT NOT NULL,
            updated_us INTEGER NOT NULL
        )""",
        # Bridges of revision 0001 write rows without a hash.
        "INSERT INTO store_metadata (key, value) VALUES ('oldest_schema', '0002')",
    )
    if not is_postgres():
        # New rows carry event sequences, which are never below the count of rows before them.
        run(
            "UPDATE sessions SET sequence = rowid",
            "UPDATE work_items SET sequence = rowid",
            "UPDATE standing_approvals SET sequence = rowid",
        )
    _chain_events()


def _chain_events() -> None:
    connection = op.get_bind()
    events = sa.table("events", *(sa.column(name) for name in (*COLUMNS, "row_hash")))
    page = sa.select(*(events.c[name] for name in COLUMNS)).order_by(events.c.sequence_id).limit(_PAGE)
    change = (
        sa.update(events)
        .where(events.c.sequence_id == sa.bindparam("sequence"))
        .values(row_hash=sa.bindparam("digest", type_=sa.LargeBinary))
    )
    last, previous = -1, GENESIS
    while rows := connection.execute(page.where(events.c.sequence_id > last)).fetchall():
        changes = []
        for row in rows:
            previous = row_hash(previous, tuple(row))
            changes.append({"sequence": row[0], "digest": previous})
        connection.execute(change, changes)
        last = rows[-1][0]
