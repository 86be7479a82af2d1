"""Tables of what agents say to each other: elicitations, pairs, collaborations."""

from __future__ import annotations

from lighthouse_bridge.migrations.upgrade import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add them; bridges of revision 0002 do not know them and are not disturbed."""
    run(
        """CREATE TABLE elicitations (
            elicitation_id TEXT PRIMARY KEY,
            from_agent TEXT NOT NULL,
            to_agent TEXT NOT NULL,
            message TEXT NOT NULL,
            form TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            expires_us INTEGER NOT NULL,
            delivered_us INTEGER,
            status TEXT NOT NULL,
            data TEXT,
            responded_us INTEGER
        )""",
        "CREATE INDEX idx_elicitations_to ON elicitations(to_agent, status, expires_us)",
        "CREATE INDEX idx_elicitations_created ON elicitations(created_us)",
        """CREATE TABLE pair_sessions (
            session_id TEXT PRIMARY KEY,
            requester TEXT NOT NULL,
            partner TEXT,
            task TEXT NOT NULL,
            mode TEXT NOT NULL,
            status TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            updated_us INTEGER NOT NULL
        )""",
        "CREATE INDEX idx_pair_sessions_updated ON pair_sessions(status, updated_us)",
        """CREATE TABLE pair_suggestions (
            suggestion_id TEXT PRIMARY KEY,
            session_id TEXT NOT NULL,
            agent TEXT NOT NULL,
            suggestion TEXT NOT NULL,
            status TEXT NOT NULL,
            reviewer TEXT,
            feedback TEXT NOT NULL,
            created_us INTEGER NOT NULL
        )""",
        "CREATE INDEX idx_pair_suggestions_session ON pair_suggestions(session_id, created_us)",
        """CREATE TABLE collaborations (
            session_id TEXT PRIMARY KEY,
            started_by TEXT NOT NULL,
            participants TEXT NOT NULL,
            collaboration_type TEXT NOT NULL,
            objective TEXT NOT NULL,
            metadata TEXT NOT NULL,
            status TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            updated_us INTEGER NOT NULL
        )""",
        "CREATE INDEX idx_collaborations_updated ON collaborations(status, updated_us)",
        # `sequence` is that of the event which announced the message.
        """CREATE TABLE collaboration_messages (
            sequence INTEGER PRIMARY KEY,
            session_id TEXT NOT NULL,
            agent TEXT NOT NULL,
            message TEXT NOT NULL,
            created_us INTEGER NOT NULL
        )""",
        "CREATE INDEX idx_collaboration_messages ON collaboration_messages(session_id, sequence)",
    )
