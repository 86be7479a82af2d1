"""Brings a store to this bridge's revision. Takes a third of a second to load, so only who needs it loads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sqlalchemy
from alembic import op
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy.pool import StaticPool

from . import FOLDER

if TYPE_CHECKING:
    import sqlite3

    import psycopg

# One lock for all who migrate one database; a transaction's, so that nobody can leave it behind.
MIGRATION_LOCK = 0x6C686D69
_POSTGRES = {
    "INTEGER": "BIGINT",
    "TEXT": 'TEXT COLLATE "C"',
    "BLOB": "BYTEA",
    "REAL": "DOUBLE PRECISION",
    "(unixepoch())": "(extract(epoch FROM now())::bigint)",
    "WITHOUT ROWID": "",
}
_WORD = re.compile(r"\b(?:INTEGER|TEXT|BLOB|REAL|WITHOUT ROWID)\b|\(unixepoch\(\)\)")


def run(*statements: str) -> None:
    """Run statements of a revision; they use SQLite's names of types."""
    for statement in statements:
        text = statement
        if is_postgres():
            text = _WORD.sub(lambda match: _POSTGRES[match[0]], statement)
        op.get_bind().exec_driver_sql(text)


def is_postgres() -> bool:
    """Whether the running revision changes a PostgreSQL database."""
    return bool(op.get_bind().dialect.name == "postgresql")


def upgrade_sqlite(connection: sqlite3.Connection) -> None:
    """Upgrade a file, all or nothing; `connection` is in autocommit mode."""
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
    # So are the steps, if the transaction is not begun by hand.
    sqlalchemy.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as opened:
        _upgrade(opened)


def upgrade_postgres(connection: psycopg.Connection[Any], target: str = "head") -> None:
    """Upgrade a database, all or nothing, one process at a time: the others wait and find it done. Another `target`
    than the newest revision makes a store as an older bridge left it.

    Raises psycopg's exceptions, as all that uses the connection does.
    """
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool
    )
    try:
        with engine.connect() as opened:
            _upgrade(opened, target)
    except sqlalchemy.exc.DBAPIError as error:
        raise (error.orig or error) from None


def _upgrade(connection: sqlalchemy.Connection, target: str = "head") -> None:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    script = ScriptDirectory.from_config(config)

    def steps(heads: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(target, heads)

    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
        context = MigrationContext.configure(connection, opts={"script": script, "fn": steps})
        with Operations.context(context):
            context.run_migrations()
