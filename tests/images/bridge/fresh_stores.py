"""Empty and full stores of each engine, made in a moment: copies of one that was made before."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lighthouse_bridge.migrations.upgrade import upgrade_sqlite
from lighthouse_bridge.postgres_connection import PostgresConnection, connect, upgrade
from lighthouse_bridge.postgres_database import PostgresDatabase
from lighthouse_bridge.sqlite_database import SqliteDatabase
from tests.images.bridge.old_stores import fill_postgres, fill_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from lighthouse_bridge.database import Database
    from lighthouse_bridge.events import StreamLine
    from lighthouse_bridge.transactions import Connection
    from tests.images.bridge.postgres import Postgres

COUNT = 40


class Stores(Protocol):
    """Makes stores of one engine."""

    # How often hypothesis may begin anew in the time that a test has.
    examples: int

    def fresh(self) -> Callable[[Callable[[list[StreamLine]], None]], Database]:
        """A way to open one empty store, again and again."""

    def tampering(self) -> AbstractContextManager[Connection]:
        """A store with COUNT events, whose changes are undone at the end."""


class SqliteStores:
    """Copies of one file."""

    examples = 20

    def __init__(self, folder: Path) -> None:
        self._folder, self._made = folder, 0
        with closing(sqlite3.connect(folder / "empty.db", isolation_level=None)) as connection:
            upgrade_sqlite(connection)
        fill_sqlite(folder / "full.db", COUNT)

    def fresh(self) -> Callable[[Callable[[list[StreamLine]], None]], Database]:
        """See Stores."""
        self._made += 1
        path = self._folder / f"{self._made}.db"
        shutil.copy(self._folder / "empty.db", path)
        return lambda on_commit: SqliteDatabase(path, 0, on_commit)

    @contextmanager
    def tampering(self) -> Iterator[Connection]:
        """See Stores."""
        with closing(sqlite3.connect(self._folder / "full.db", isolation_level=None)) as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")


class PostgresStores:
    """Copies of one database."""

    examples = 6

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._empty, self._full = server.create_database(), server.create_database()
        with connect(self._empty.client_settings()).raw as raw:
            upgrade(self._empty.client_settings(), raw, "the store")
        fill_postgres(self._full, COUNT)
        self._made = 0

    def fresh(self) -> Callable[[Callable[[list[StreamLine]], None]], Database]:
        """See Stores."""
        self._made += 1
        name = f"{self._empty.database}_{self._made}"
        with self._server.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{self._empty.database}"'.encode())
        found = replace(self._server, database=name).client_settings()
        return lambda on_commit: PostgresDatabase(found, on_commit)

    @contextmanager
    def tampering(self) -> Iterator[Connection]:
        """See Stores."""
        with connect(self._full.client_settings()).raw as raw:
            raw.execute("BEGIN")
            try:
                yield PostgresConnection(raw)
            finally:
                raw.execute("ROLLBACK")
