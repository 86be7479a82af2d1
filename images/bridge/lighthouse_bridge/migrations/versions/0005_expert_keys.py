"""Whose own key an expert joined with, so that votes are counted by keys."""

from __future__ import annotations

from lighthouse_bridge.migrations.upgrade import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add columns; what is there already was joined with the role's key, which has no name."""
    run(
        "ALTER TABLE sessions ADD COLUMN key_name TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE work_items ADD COLUMN key_name TEXT NOT NULL DEFAULT ''",
    )
