"""PostgreSQL: instances, replication, connections, work, and how far back it can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import POSTGRES, Found, dashboard, graph, number, over, row, under

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

BACKUP = "barman_cloud_cloudnative_pg_io"
OWN = f'{POSTGRES},datname="lighthouse"'


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "postgres",
        "PostgreSQL",
        "Instances, replication, connections, work, and how far back the database can be restored.",
        # All names of a release have this word.
        Found("cnpg_collector_up", "postgres", pods=".*lighthouse.*-postgres-[0-9]+"),
    )
    row(
        made,
        "Cluster",
        number(
            "Instances that answer",
            "As their own exporters see it. Red: fewer than the threshold of PostgresDown.",
            units.Short,
            f"count(cnpg_collector_up{{{POSTGRES}}} == 1) or vector(0)",
            limit=under("postgresDown"),
            span=6,
        ),
        number(
            "Replicas that stream",
            "From the primary. Red: fewer than the threshold of PostgresReplicasMissing.",
            units.Short,
            f"max(cnpg_pg_replication_streaming_replicas{{{POSTGRES}}})",
            limit=under("postgresReplicasMissing"),
            span=6,
        ),
        number(
            "Age of the latest backup",
            "Since 1970 when there is none. Red: above the threshold of PostgresBackupOld.",
            units.Seconds,
            f"time() - max({BACKUP}_last_available_backup_timestamp{{{POSTGRES}}})",
            limit=over("postgresBackupOld"),
            span=6,
        ),
        number(
            "Can be restored back to",
            "The first moment to which the backups reach.",
            units.DatetimeISO,
            f"min({BACKUP}_first_recoverability_point{{{POSTGRES}}} > 0) * 1000",
            span=6,
        ),
    )
    _replication(made)
    _work(made)
    return made


def _replication(made: Dashboard) -> None:
    row(
        made,
        "Replication and archive",
        graph(
            "Lag of replicas",
            "How long ago what a replica shows was written. Dashed: the threshold of PostgresReplicationLag.",
            units.Seconds,
            {"{{pod}}": f"cnpg_pg_replication_lag{{{POSTGRES}}}"},
            limit=over("postgresReplicationLag"),
        ),
        graph(
            "Behind the primary",
            "WAL that a replica has not written to disk yet: a commit waits until one has.",
            units.BytesIEC,
            {"{{application_name}}": f"cnpg_pg_stat_replication_flush_diff_bytes{{{POSTGRES}}}"},
        ),
        graph(
            "Primaries",
            "1 for the instance that takes writes; a change is a failover or a switchover.",
            units.Short,
            {"{{pod}}": f"1 - cnpg_pg_replication_in_recovery{{{POSTGRES}}}"},
        ),
        graph(
            "WAL that waits for the archive",
            "Segments. Dashed: the threshold of PostgresArchiveWaiting.",
            units.Short,
            {"{{pod}}": f'cnpg_collector_pg_wal_archive_status{{{POSTGRES},value="ready"}}'},
            limit=over("postgresArchiveWaiting"),
        ),
        graph(
            "Failures of the archive",
            "In a quarter of an hour. Dashed: the threshold of PostgresArchiveFailing.",
            units.Short,
            {"{{pod}}": f"increase(cnpg_pg_stat_archiver_failed_count{{{POSTGRES}}}[15m])"},
            limit=over("postgresArchiveFailing"),
        ),
        graph(
            "Since the last archived segment",
            "Up to here a lost cluster can be restored from the archive alone.",
            units.Seconds,
            {"{{pod}}": f"cnpg_pg_stat_archiver_seconds_since_last_archival{{{POSTGRES}}} >= 0"},
        ),
    )


def _work(made: Dashboard) -> None:
    row(
        made,
        "Work",
        graph(
            "Connections",
            "The share of `max_connections`. Dashed: the threshold of PostgresConnectionsHigh.",
            units.PercentUnit,
            {
                "{{pod}}": f"sum by (pod) (cnpg_backends_total{{{POSTGRES}}}) / on (pod) max by (pod) "
                f'(cnpg_pg_settings_setting{{{POSTGRES},name="max_connections"}})'
            },
            limit=over("postgresConnectionsHigh"),
            top=1,
        ),
        graph(
            "Connections by role and state",
            "Of all instances.",
            units.Short,
            {"{{usename}}: {{state}}": f"sum by (usename, state) (cnpg_backends_total{{{POSTGRES}}}) > 0"},
        ),
        graph(
            "Transactions",
            "Of the database a second, by instance.",
            units.OpsPerSecond,
            {
                "{{pod}}: committed": f"rate(cnpg_pg_stat_database_xact_commit{{{OWN}}}[$__rate_interval])",
                "{{pod}}: rolled back": f"rate(cnpg_pg_stat_database_xact_rollback{{{OWN}}}[$__rate_interval])",
            },
        ),
        graph(
            "Reads from memory",
            "The share of blocks that were found in shared buffers.",
            units.PercentUnit,
            {
                "{{pod}}": f"rate(cnpg_pg_stat_database_blks_hit{{{OWN}}}[$__rate_interval]) / "
                f"(rate(cnpg_pg_stat_database_blks_hit{{{OWN}}}[$__rate_interval])"
                f" + rate(cnpg_pg_stat_database_blks_read{{{OWN}}}[$__rate_interval]))"
            },
            top=1,
        ),
        graph(
            "Longest transaction",
            "By role; it holds back the clean-up of dead rows.",
            units.Seconds,
            {"{{usename}}": f"max by (usename) (cnpg_backends_max_tx_duration_seconds{{{POSTGRES}}})"},
        ),
        graph(
            "Queries that wait for others, and deadlocks",
            "Waiting now, and deadlocks in an hour.",
            units.Short,
            {
                "{{pod}}: waiting": f"cnpg_backends_waiting_total{{{POSTGRES}}}",
                "{{pod}}: deadlocks": f"increase(cnpg_pg_stat_database_deadlocks{{{OWN}}}[1h])",
            },
        ),
        graph(
            "Size of the database",
            "On disk, as each instance has it.",
            units.BytesIEC,
            {"{{pod}}": f"cnpg_pg_database_size_bytes{{{OWN}}}"},
        ),
        graph(
            "Size of the WAL",
            "Segments in `pg_wal`; a slot or the archive that stays behind lets it grow.",
            units.BytesIEC,
            {"{{pod}}": f'cnpg_collector_pg_wal{{{POSTGRES},value="size"}}'},
        ),
        graph(
            "Age of transaction ids",
            "Of the oldest that a database needs; vacuum is forced at 200 million. Dashed: the threshold of "
            "PostgresTransactionIdsOld.",
            units.Short,
            {"{{datname}}": f"max by (datname) (cnpg_pg_database_xid_age{{{POSTGRES}}})"},
            limit=over("postgresTransactionIdsOld"),
        ),
    )
