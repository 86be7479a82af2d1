"""Stores full of events, made without a bridge: quickly, and as older bridges left them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lighthouse_bridge.chain import COLUMNS, Head
from lighthouse_bridge.events import EventType, Row, build_row
from lighthouse_bridge.migrations.upgrade import upgrade_postgres, upgrade_sqlite
from lighthouse_bridge.postgres_connection import connect
from tests.images.bridge.postgres import Postgres

# Since when rows have a hash.
CHAINED = "0002"


def rows(count: int) -> Iterator[Row]:
    """So many events of one agent; each says its number as a word."""
    head = Head()
    for n in range(1, count + 1):
        data = {"n": n, "note": f"word{n} of a longer text about what the agent did"}
        row, _, head = build_row(
            head,
            1_700_000_000_000_000 + n,
            EventType.CUSTOM,
            "agent",
            "a",
            data,
            {"correlation_id": f"c-{n % 7}"},
        )
        yield row


def fill_postgres(server: Postgres, count: int, revision: str = "head") -> None:
    """An empty database becomes a store of that revision, filled."""
    with connect(server.client_settings()).raw as raw:
        raw.autocommit = False
        upgrade_postgres(raw, revision)
        raw.commit()
        chained = revision == "head" or revision >= CHAINED
        names = (*COLUMNS, "row_hash") if chained else COLUMNS
        with raw.cursor().copy(f"COPY events ({', '.join(names)}) FROM STDIN".encode()) as copy:
            for row in rows(count):
                copy.write_row(row[: len(names)])
        raw.commit()


def fill_sqlite(path: Path, count: int) -> None:
    """A new file becomes a store, filled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        upgrade_sqlite(connection)
        connection.execute("BEGIN")
        places = ", ".join("?" * (len(COLUMNS) + 1))
        connection.executemany(
            f"INSERT INTO events ({', '.join(COLUMNS)}, row_hash) VALUES ({places})",  # noqa: S608 - made of constants
            rows(count),
        )
        connection.execute("COMMIT")
