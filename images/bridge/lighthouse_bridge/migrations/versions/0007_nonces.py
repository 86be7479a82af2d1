"""Nonces of signed messages, which must not be forgotten by a restart."""

from __future__ import annotations

from lighthouse_bridge.migrations.upgrade import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table; bridges of revision 0006 remember nonces elsewhere and are not disturbed."""
    run(
        """CREATE TABLE nonces (
            session_id TEXT NOT NULL,
            nonce TEXT NOT NULL,
            expires_us INTEGER NOT NULL,
            PRIMARY KEY (session_id, nonce)
        )""",
        "CREATE INDEX idx_nonces_expires ON nonces(expires_us)",
    )
