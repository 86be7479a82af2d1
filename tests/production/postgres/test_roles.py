"""What each role may do in the database, and above all what it may not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.production.postgres.database import Database

# Each statement is tried alone; `ledger` is a table that the migrator made and a row is in.
FORBIDDEN = {
    "bridge": (
        "UPDATE ledger SET body = 'forged'",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "DROP TABLE ledger",
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "ALTER TABLE ledger OWNER TO bridge",
        "CREATE TABLE own (n int)",
        "CREATE TABLE public.own (n int)",
        "CREATE TEMPORARY TABLE own (n int)",
        "CREATE SCHEMA own",
        "CREATE DATABASE own",
        "CREATE ROLE own",
        "CREATE EXTENSION dblink",
        "ALTER ROLE bridge SUPERUSER",
        "ALTER ROLE auditor PASSWORD 'known'",
        "SET ROLE migrator",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION migrator",
        "SET session_replication_role = replica",
        "SET pgaudit.log = 'none'",
        "ALTER SYSTEM SET log_statement = 'none'",
        "ALTER DEFAULT PRIVILEGES FOR ROLE migrator GRANT ALL ON TABLES TO bridge",
        "SELECT setval('ledger_id_seq', 1)",
        "COPY ledger TO PROGRAM 'true'",
        "COPY ledger TO '/tmp/ledger'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('.')",
        "SELECT pg_reload_conf()",
        "SELECT pg_switch_wal()",
        "SELECT pg_create_physical_replication_slot('own')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
        "SELECT rolpassword FROM pg_authid",
        "SELECT lo_import('/etc/passwd')",
        "SELECT maintain()",
    ),
    "auditor": (
        "INSERT INTO ledger (body) VALUES ('x')",
        "UPDATE ledger SET body = 'x'",
        "DELETE FROM ledger",
        "SET default_transaction_read_only = off; INSERT INTO ledger (body) VALUES ('x')",
        "CREATE TABLE own (n int)",
        "SELECT nextval('ledger_id_seq')",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE bridge",
    ),
    "exporter": (
        "SELECT * FROM lighthouse.ledger",
        "INSERT INTO lighthouse.ledger (body) VALUES ('x')",
        "CREATE TABLE public.own (n int)",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE bridge",
    ),
    "migrator": (
        "CREATE ROLE own",
        "CREATE DATABASE own",
        "ALTER SYSTEM SET fsync = off",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY ledger TO PROGRAM 'true'",
        "SET ROLE postgres",
        "SET session_replication_role = replica",
        "CREATE TABLE public.own (n int)",
    ),
}


@pytest.fixture(name="ledger", scope="module")
def _ledger(database: Database) -> Iterator[Database]:
    """A database with a table and a function of the migrator, and a row of the bridge."""
    with database.connect("migrator") as connection:
        connection.execute("CREATE TABLE ledger (id bigserial PRIMARY KEY, body text NOT NULL)")
        connection.execute("CREATE FUNCTION maintain() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    with database.connect("bridge") as connection:
        connection.execute("INSERT INTO ledger (body) VALUES ('first')")
    yield database
    with database.connect("migrator") as connection:
        connection.execute("DROP TABLE ledger")
        connection.execute("DROP FUNCTION maintain()")


def rows(connection: psycopg.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    return connection.execute(sql).fetchall()


@pytest.mark.proves(26, level="running")
@pytest.mark.parametrize("role", FORBIDDEN)
def test_a_role_cannot_do_what_it_must_not(ledger: Database, role: str) -> None:
    done = []
    for statement in FORBIDDEN[role]:
        with ledger.connect(role) as connection:
            try:
                connection.execute(statement)
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction):
                continue
            except psycopg.Error as error:
                done.append(f"{statement}: refused for another reason: {error}")
            else:
                done.append(statement)
    assert done == []
    with ledger.connect("auditor") as connection:
        assert rows(connection, "SELECT body FROM ledger") == [("first",)]


@pytest.mark.parametrize("role", ["bridge", "migrator", "auditor"])
def test_a_role_enters_no_other_database(ledger: Database, role: str) -> None:
    for name in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="rejects connection"):
            ledger.connect(role, dbname=name)


def test_the_bridge_reads_and_appends(ledger: Database) -> None:
    with ledger.connect("bridge") as connection, connection.transaction(force_rollback=True):
        connection.execute("INSERT INTO ledger (body) VALUES ('second')")
        assert rows(connection, "SELECT body FROM ledger ORDER BY id") == [("first",), ("second",)]


def test_what_the_bridge_grants_itself_changes_nothing(ledger: Database) -> None:
    with ledger.connect("bridge") as connection:
        connection.execute("GRANT ALL ON ledger TO bridge, auditor")  # PostgreSQL only warns
        for role, right in (("bridge", "UPDATE"), ("bridge", "DELETE"), ("auditor", "INSERT")):
            assert rows(connection, f"SELECT has_table_privilege('{role}', 'ledger', '{right}')") == [
                (False,)
            ]


def test_the_exporter_sees_statistics(ledger: Database) -> None:
    with ledger.connect("exporter") as connection:
        assert rows(
            connection, "SELECT count(*) > 1 FROM pg_stat_replication WHERE sync_state = 'quorum'"
        ) == [(True,)]


def test_no_role_has_an_attribute_beyond_login(ledger: Database) -> None:
    found = ledger.superuser(
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
        " WHERE rolname IN ('migrator', 'bridge', 'exporter', 'auditor') ORDER BY 1"
    )
    assert found.splitlines() == [f"{role}|f|f|f|f|f" for role in sorted(FORBIDDEN)]


def test_a_wrong_password_and_an_unknown_role_are_refused(ledger: Database) -> None:
    for changes, said in (({"password": "wrong"}, "password"), ({"user": "postgres"}, "rejects connection")):
        with pytest.raises(psycopg.OperationalError, match=said):
            ledger.connect("bridge", **changes)


def test_the_bridge_cannot_take_all_connections(ledger: Database) -> None:
    limit = int(ledger.superuser("SELECT rolconnlimit FROM pg_roles WHERE rolname = 'bridge'"))
    most = int(ledger.superuser("SHOW max_connections"))
    assert 0 < limit < most
