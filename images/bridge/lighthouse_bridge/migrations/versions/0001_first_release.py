"""The schema of the first release. `events`, its indexes and `store_metadata` are the published format; the rest are
projections of the events and working tables of the bridge. A file of that release has it, but no revision."""

from __future__ import annotations

from lighthouse_bridge.migrations.upgrade import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is not there yet."""
    run(
        """CREATE TABLE IF NOT EXISTS events (
            sequence_id INTEGER PRIMARY KEY,
            event_id TEXT NOT NULL UNIQUE,
            event_type TEXT NOT NULL,
            timestamp INTEGER NOT NULL,
            agent_id TEXT,
            aggregate_id TEXT,
            aggregate_version INTEGER,
            event_data TEXT NOT NULL,
            metadata TEXT,
            checksum TEXT,
            created_at INTEGER NOT NULL DEFAULT (unixepoch())
        )""",
        "CREATE INDEX IF NOT EXISTS idx_events_timestamp ON events(timestamp)",
        "CREATE INDEX IF NOT EXISTS idx_events_type ON events(event_type)",
        "CREATE INDEX IF NOT EXISTS idx_events_agent ON events(agent_id)",
        "CREATE INDEX IF NOT EXISTS idx_events_aggregate ON events(aggregate_id, aggregate_version)",
        "CREATE INDEX IF NOT EXISTS idx_events_type_timestamp ON events(event_type, timestamp)",
        "CREATE INDEX IF NOT EXISTS idx_events_agent_timestamp ON events(agent_id, timestamp)",
        """CREATE TABLE IF NOT EXISTS store_metadata (
            key TEXT PRIMARY KEY,
            value TEXT NOT NULL,
            updated_at INTEGER NOT NULL DEFAULT (unixepoch())
        )""",
        "INSERT INTO store_metadata (key, value) VALUES ('schema_version', '1') ON CONFLICT DO NOTHING",
        # Content lives once, by its SHA-256; encoding is 'raw' or 'zlib', size and is_text are the content's.
        """CREATE TABLE IF NOT EXISTS blobs (
            hash TEXT PRIMARY KEY,
            size INTEGER NOT NULL,
            is_text INTEGER NOT NULL,
            encoding TEXT NOT NULL,
            data BLOB NOT NULL
        )""",
        """CREATE TABLE IF NOT EXISTS files (
            path TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            executable INTEGER NOT NULL,
            size INTEGER NOT NULL,
            content_hash TEXT NOT NULL,
            mtime_us INTEGER NOT NULL,
            sequence INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE IF NOT EXISTS file_versions (
            sequence INTEGER PRIMARY KEY,
            path TEXT NOT NULL,
            operation TEXT NOT NULL,
            kind TEXT NOT NULL,
            executable INTEGER NOT NULL,
            size INTEGER NOT NULL,
            content_hash TEXT,
            mtime_us INTEGER NOT NULL,
            agent_id TEXT NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS idx_file_versions_path ON file_versions(path, sequence)",
        """CREATE TABLE IF NOT EXISTS annotations (
            annotation_id TEXT PRIMARY KEY,
            sequence INTEGER NOT NULL,
            file_path TEXT NOT NULL,
            line INTEGER NOT NULL,
            annotation TEXT NOT NULL,
            expert_id TEXT NOT NULL,
            created_us INTEGER NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS idx_annotations_path ON annotations(file_path, sequence)",
        """CREATE TABLE IF NOT EXISTS sessions (
            session_id TEXT PRIMARY KEY,
            agent_id TEXT NOT NULL,
            role TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            last_seen_us INTEGER NOT NULL,
            ip_address TEXT NOT NULL,
            user_agent TEXT NOT NULL,
            metadata TEXT NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS idx_sessions_agent ON sessions(agent_id, role, created_us)",
        # Who lives now, not what happened: older forms of these working tables are dropped, not converted.
        "DROP TABLE IF EXISTS experts",
        "DROP TABLE IF EXISTS pending",
        # `session_id` is the session that registered; the entry goes when it ends.
        """CREATE TABLE IF NOT EXISTS expert_registry (
            agent_id TEXT PRIMARY KEY,
            agent_type TEXT NOT NULL,
            capabilities TEXT NOT NULL,
            metadata TEXT NOT NULL,
            registered_us INTEGER NOT NULL,
            last_seen_us INTEGER NOT NULL,
            session_id TEXT NOT NULL
        )""",
        # Validations that no rule decides. `stage` is experts, human or decided; `call_key` names tool, input and
        # version of the rules, `shape` tool and input alone.
        """CREATE TABLE IF NOT EXISTS escalations (
            validation_id TEXT PRIMARY KEY,
            sequence INTEGER NOT NULL,
            created_us INTEGER NOT NULL,
            call_key TEXT NOT NULL,
            shape TEXT NOT NULL,
            agent_id TEXT NOT NULL,
            tool_name TEXT NOT NULL,
            tool_input TEXT NOT NULL,
            reason TEXT NOT NULL,
            rule TEXT NOT NULL,
            rules_version TEXT NOT NULL,
            risk INTEGER NOT NULL,
            stage TEXT NOT NULL,
            experts_until_us INTEGER NOT NULL,
            expires_us INTEGER NOT NULL,
            decision TEXT,
            tier TEXT,
            decided_by TEXT,
            confidence REAL,
            decided_us INTEGER
        )""",
        "CREATE INDEX IF NOT EXISTS idx_escalations_sequence ON escalations(sequence)",
        "CREATE INDEX IF NOT EXISTS idx_escalations_call ON escalations(call_key, stage)",
        "CREATE INDEX IF NOT EXISTS idx_escalations_stage ON escalations(stage, sequence)",
        # One expert's part in an escalation (kind validation) or an order to one expert (delegation, task).
        """CREATE TABLE IF NOT EXISTS work_items (
            work_id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            validation_id TEXT,
            expert_id TEXT NOT NULL,
            agent_type TEXT NOT NULL,
            requested_by TEXT NOT NULL,
            payload TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            deadline_us INTEGER NOT NULL,
            fetched_us INTEGER,
            fetched_session TEXT,
            answered_us INTEGER,
            answer TEXT,
            confidence REAL,
            reasoning TEXT
        )""",
        "CREATE INDEX IF NOT EXISTS idx_work_items_expert ON work_items(expert_id, answered_us, created_us)",
        "CREATE INDEX IF NOT EXISTS idx_work_items_validation ON work_items(validation_id)",
        # What a person decided in advance; `agent_id` is NULL for all agents, `uses_left` NULL for no limit.
        """CREATE TABLE IF NOT EXISTS standing_approvals (
            approval_id TEXT PRIMARY KEY,
            shape TEXT NOT NULL,
            agent_id TEXT,
            status TEXT NOT NULL,
            uses_left INTEGER,
            decided_by TEXT NOT NULL,
            reason TEXT NOT NULL,
            validation_id TEXT NOT NULL,
            created_us INTEGER NOT NULL,
            expires_us INTEGER NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS idx_standing_approvals_shape ON standing_approvals(shape, expires_us)",
        """CREATE TABLE IF NOT EXISTS context_packages (
            id TEXT PRIMARY KEY,
            sequence INTEGER NOT NULL,
            created_us INTEGER NOT NULL,
            package TEXT NOT NULL
        )""",
        "CREATE INDEX IF NOT EXISTS idx_context_packages_sequence ON context_packages(sequence)",
    )
