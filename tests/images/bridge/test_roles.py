"""A bridge whose role may append but owns nothing, as the chart's database has it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.images.bridge.postgres import Postgres, postgres_server
from tests.images.bridge.support import REPOSITORY, Agent, Bridge

pytestmark = pytest.mark.heavy  # a server of its own

GRANTS = REPOSITORY / "charts" / "lighthouse" / "charts" / "postgres" / "files" / "grants.sql"
PASSWORD = "a-password-of-a-test"
# A probe asks every five seconds; what it asks for is tried again at least every second.
READY_SECONDS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Postgres]:
    """A server with the chart's roles and rights."""
    with postgres_server() as made:
        with made.connect() as connection:
            # The chart's operator makes these two.
            connection.execute("CREATE ROLE postgres")
            connection.execute("CREATE ROLE migrator")
            connection.execute("CREATE DATABASE lighthouse OWNER migrator")
        there = replace(made, database="lighthouse")
        with there.connect() as connection:
            connection.execute(GRANTS.read_bytes())
            for role in ("migrator", "bridge"):
                connection.execute(f"ALTER ROLE {role} LOGIN PASSWORD '{PASSWORD}'".encode())
        for role in ("migrator", "bridge"):
            (tmp_path / role).mkdir()
            (tmp_path / role / "username").write_text(role)
            (tmp_path / role / "password").write_text(PASSWORD)
        yield there


def test_a_bridge_does_all_its_work_and_cannot_change_history(
    server: Postgres, start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    migrate(server, tmp_path)
    own = start_bridge(server, LIGHTHOUSE_DATABASE_SECRET_DIR=str(tmp_path / "bridge"))
    builder, expert, operator = (own.join(role) for role in ("builder", "expert", "operator"))
    assert builder.update("a/file", "content").status_code == 200
    assert builder.update("a/file", "other").status_code == 200
    assert builder.update("a/file", None, "delete").status_code == 200
    builder.validate("git status")
    answers = [builder.post("/events", {"event_type": "custom", "data": {"n": n}}) for n in range(20)]
    assert [answer.status_code for answer in answers] == [200] * 20
    found = expert.get("/events", params={"text": "git status"}).json()["events"]
    assert [event["agent_id"] for event in found] == [builder.agent_id]
    assert operator.post("/snapshot/one").status_code == 200
    assert ask(builder, expert) == 200
    assert own.http.get("/ready").status_code == 200
    with psycopg.connect(**login(server, "bridge"), autocommit=True) as connection:
        kept = {
            "events": "agent_id",
            "blobs": "data",
            "file_versions": "agent_id",
            "annotations": "annotation",
        }
        for table, column in kept.items():
            for statement in (
                f"UPDATE {table} SET {column} = {column}",  # noqa: S608 - made here
                f"DELETE FROM {table}",  # noqa: S608 - made here
                f"TRUNCATE {table}",
                f"DROP TABLE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
    assert "permission denied" not in own.log.read_text()


def test_a_bridge_that_may_make_no_tables_waits_for_those_who_may(
    server: Postgres, start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    own = start_bridge(server, LIGHTHOUSE_DATABASE_SECRET_DIR=str(tmp_path / "bridge"))
    answer = own.http.get("/ready")
    assert answer.status_code == 503
    assert "does not have the tables of schema" in answer.json()["detail"]
    assert "the role bridge may not change them" in answer.json()["detail"]
    process = own.pid
    migrate(server, tmp_path)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200, READY_SECONDS)
    assert own.pid == process
    assert own.join("builder").update("a/file", "content").status_code == 200
    # Older tables: those that are there already go on serving, a new one waits.
    with psycopg.connect(**login(server, "migrator"), autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0007'")
    new = start_bridge(server, LIGHTHOUSE_DATABASE_SECRET_DIR=str(tmp_path / "bridge"))
    assert new.http.get("/ready").status_code == 503
    assert own.http.get("/ready").status_code == 200
    migrate(server, tmp_path)
    new.wait_for(lambda: new.http.get("/ready").status_code == 200, READY_SECONDS)
    refused = [
        line for line in (server.folder / "log").read_text().splitlines() if "permission denied" in line
    ]
    assert refused == [], "a bridge tried what it may not do"


def test_a_migration_waits_for_a_database_and_a_login_that_are_not_there_yet(
    server: Postgres, tmp_path: Path
) -> None:
    with server.connect() as connection:
        connection.execute("ALTER ROLE migrator NOLOGIN")
    server.stop()
    settings = {
        "LIGHTHOUSE_DATABASE_SECRET_DIR": str(tmp_path / "migrator"),
        "LIGHTHOUSE_MIGRATION_WAIT_SECONDS": "60",
    }
    env = Bridge(tmp_path / "early", settings, server).env
    words = [sys.executable, "-m", "lighthouse_bridge", "migrate"]
    with subprocess.Popen(words, env=env) as early:
        time.sleep(3)
        assert early.poll() is None, "it gave up"
        server.start()
        time.sleep(2)
        assert early.poll() is None, "it gave up"
        with server.connect() as connection:
            connection.execute("ALTER ROLE migrator LOGIN")
        assert early.wait(20) == 0
    impatient = env | {"LIGHTHOUSE_MIGRATION_WAIT_SECONDS": "2"}
    server.stop()
    begin = time.monotonic()
    done = subprocess.run(words, env=impatient, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert time.monotonic() - begin < 15
    server.start()


def migrate(server: Postgres, folder: Path) -> None:
    """Bring the tables up to date as their owner."""
    settings = {"LIGHTHOUSE_DATABASE_SECRET_DIR": str(folder / "migrator")}
    env = Bridge(folder / f"migration-{time.monotonic_ns()}", settings, server).env
    subprocess.run([sys.executable, "-m", "lighthouse_bridge", "migrate"], env=env, check=True)


def login(server: Postgres, role: str) -> dict[str, Any]:
    """Connection parameters of a role."""
    return {
        "host": server.host,
        "port": server.server_port,
        "dbname": server.database,
        "user": role,
        "password": PASSWORD,
        "sslmode": "verify-full",
        "sslrootcert": str(server.folder / "tls" / "ca.crt"),
    }


def ask(asker: Agent, addressee: Agent) -> int:
    """The answer to a signed question, whose nonce is kept."""
    body = {
        "from_agent": asker.agent_id,
        "to_agent": addressee.agent_id,
        "message": "Is it safe?",
        "schema": {"type": "object", "properties": {"safe": {"type": "boolean"}}},
    }
    return asker.send("/elicitation/create", body).status_code
