"""What the store is compared with: pgbench and a bare loop over sqlite3, inserting rows of the same form."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

from lighthouse_bridge.chain import Head
from lighthouse_bridge.events import EventType, build_row
from lighthouse_bridge.transactions import INSERT
from tests.images.bridge.postgres import programs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.images.bridge.postgres import Postgres

# A validation's decision, the most frequent event there is.
DATA = {
    "validation_id": "0" * 32,
    "tool_name": "Bash",
    "decision": "approved",
    "reason": "Every part of the command is known and harmless: git status, grep, head.",
    "risk_level": "low",
    "confidence": 0.95,
    "rule": "shell.read_only",
    "rules_version": "a" * 16,
    "tier": "policy",
}
AGENT = "agent-benchmark-7"
TYPE = EventType.VALIDATION_DECISION_MADE
_COPY = "CREATE TABLE pgbench_events (LIKE events INCLUDING ALL)"


def pgbench(server: Postgres, folder: Path, clients: int, seconds: float) -> float:
    """Transactions a second of as many clients, each inserting one row into a table like ours."""
    row, _, _ = build_row(Head(), time.time_ns() // 1000, TYPE, AGENT, "0" * 32, DATA, {})
    with server.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS pgbench_events")
        connection.execute(_COPY)
        text = connection.execute("SELECT quote_literal(%s), quote_literal(%s)", (row[7], row[8])).fetchone()
    assert text is not None
    data, metadata = text
    script = folder / "insert.sql"
    script.write_text(
        "\\set n :n + 1\n"
        "INSERT INTO pgbench_events (sequence_id, event_id, event_type, timestamp, agent_id, aggregate_id, "
        "aggregate_version, event_data, metadata, checksum, created_at, row_hash) VALUES "
        f"(:client_id::bigint * 1000000000 + :n, concat({row[3]}, '_', :n::text, '_', :client_id::text), "
        f"'{TYPE}', {row[3]} + :n, '{AGENT}', concat('{'0' * 24}', :n::text), "
        f":client_id::bigint * 1000000000 + :n, {data}, {metadata}, '{row[9]}', {row[10]}, "
        f"'\\x{row[11].hex()}'::bytea);\n"
    )
    environment = {
        **os.environ,
        "PGHOST": server.host,
        "PGPORT": str(server.server_port),
        "PGUSER": "lighthouse",
        "PGPASSWORD": server.password,
        "PGDATABASE": server.database,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(server.folder / "tls" / "ca.crt"),
    }
    command = [
        str(programs() / "pgbench"),
        "--no-vacuum",
        "--protocol=prepared",
        f"--client={clients}",
        f"--jobs={min(clients, 2)}",
        f"--time={max(1, round(seconds))}",
        "--define=n=0",
        f"--file={script}",
    ]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"tps = ([\d.]+) \(without", result.stdout)
    assert found, result.stdout
    return float(found[1])


def bare_sqlite(source: Path, target: Path, seconds: float) -> float:
    """Rows a second of one loop that commits each; the file has the tables of `source` and its durability."""
    connection = sqlite3.connect(target, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    with sqlite3.connect(source) as original:
        for (statement,) in original.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'events'"):
            if statement:
                connection.execute(statement)
    original.close()
    head, count, now = Head(), 0, time.time_ns() // 1000
    rows = []
    for n in range(1, 20_001):
        row, _, head = build_row(head, now + n, TYPE, AGENT, f"{n:032x}", DATA, {})
        rows.append(row)
    started = time.perf_counter()
    for row in rows:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, row)
        connection.execute("COMMIT")
        count += 1
        if time.perf_counter() - started >= seconds:
            break
    took = time.perf_counter() - started
    connection.close()
    return count / took
