"""How bridges append on PostgreSQL: all rows of a commit in one statement."""

from __future__ import annotations

from lighthouse_bridge.chain import COLUMNS
from lighthouse_bridge.migrations.upgrade import is_postgres, run
from lighthouse_bridge.postgres_commits import CHANNEL, COMMIT_LOCK

revision = "0006"
down_revision = "0005"

_NUMBERS = {"sequence_id", "timestamp", "aggregate_version", "created_at"}


def upgrade() -> None:
    """Add two functions; bridges of revision 0005 do not know them and are not disturbed."""
    if not is_postgres():
        return
    names = ", ".join(COLUMNS)
    fields = ", ".join(f"{name} {'bigint' if name in _NUMBERS else 'text'}" for name in COLUMNS)
    run(
        # For whoever holds the lock of commits.
        f"""CREATE FUNCTION add_events(added json) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO events ({names}, row_hash)
                SELECT {names}, decode(row_hash, 'base64')
                FROM json_to_recordset(added) AS added({fields}, row_hash text);
            PERFORM pg_notify('{CHANNEL}', (SELECT max(sequence_id) FROM events)::text);
        END $$""",  # noqa: S608 - made of constants
        # Adds only to the end on which the events were built, and only while the writer's mark stands: a statement
        # that arrives after its bridge has given it up does nothing. Each statement of the function sees what was
        # committed before it began, so also what was committed while the lock was waited for.
        f"""CREATE FUNCTION append_events(
            added json, end_sequence bigint, end_hash bytea, writer text, mark text,
            OUT made boolean, OUT clock_us bigint
        ) LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock({COMMIT_LOCK});
            clock_us := extract(epoch FROM clock_timestamp()) * 1000000;
            made := end_sequence = (SELECT coalesce(max(sequence_id), 0) FROM events)
                AND (end_sequence = 0
                    OR EXISTS (SELECT FROM events WHERE sequence_id = end_sequence AND row_hash = end_hash))
                AND EXISTS (SELECT FROM store_writers WHERE writer_id = writer AND token = mark);
            IF made THEN
                PERFORM add_events(added);
            END IF;
        END $$""",  # noqa: S608 - made of constants
    )
