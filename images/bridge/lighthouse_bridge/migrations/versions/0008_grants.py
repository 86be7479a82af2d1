"""What a bridge may do that does not own the tables: append, and change what is not kept for ever."""

from __future__ import annotations

from alembic import op

from lighthouse_bridge.migrations.upgrade import is_postgres, run

revision = "0008"
down_revision = "0007"

ROLE = "bridge"
# Rows of all other tables are never changed: events, contents and versions of files, annotations.
_CHANGING = (
    "collaboration_messages, collaborations, context_packages, elicitations, escalations, expert_registry, files, "
    "nonces, pair_sessions, pair_suggestions, sessions, snapshots, standing_approvals, store_metadata, "
    "store_writers, work_items"
)
_MAY_APPEND = (
    "SELECT has_table_privilege(oid, 'events', 'INSERT') FROM pg_roles "  # noqa: S608 - made of constants
    f"WHERE rolname = '{ROLE}'"
)


def upgrade() -> None:
    """Grant it to the role of bridges, where there is one that may append."""
    if is_postgres() and op.get_bind().exec_driver_sql(_MAY_APPEND).scalar():
        run(
            f"GRANT UPDATE, DELETE ON {_CHANGING} TO {ROLE}",
            f"GRANT EXECUTE ON FUNCTION add_events(json), append_events(json, bigint, bytea, text, text) TO {ROLE}",
        )
