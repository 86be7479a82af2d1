"""A bridge whose role may append but owns nothing, as the chart's database has it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.images.bridge.postgres import Postgres, postgres_server
from tests.images.bridge.support import REPOSITORY, Agent, Bridge

pytestmark = pytest.mark.heavy  # a server of its own

GRANTS = REPOSITORY / "charts" / "lighthouse" / "charts" / "postgres" / "files" / "grants.sql"
PASSWORD = "a-password-of-a-test"


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
    settings = {"LIGHTHOUSE_DATABASE_SECRET_DIR": str(tmp_path / "migrator")}
    env = {**Bridge(tmp_path / "migration", settings, server).env}
    subprocess.run([sys.executable, "-m", "lighthouse_bridge", "migrate"], env=env, check=True)
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
    with psycopg.connect(
        host=server.host,
        port=server.server_port,
        dbname=server.database,
        user="bridge",
        password=PASSWORD,
        sslmode="verify-full",
        sslrootcert=str(server.folder / "tls" / "ca.crt"),
        autocommit=True,
    ) as connection:
        for table in ("events", "blobs", "file_versions", "annotations"):
            for statement in (f"DELETE FROM {table}", f"TRUNCATE {table}", f"DROP TABLE {table}"):  # noqa: S608 - made here
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
    assert "permission denied" not in own.log.read_text()


def ask(asker: Agent, addressee: Agent) -> int:
    """The answer to a signed question, whose nonce is kept."""
    body = {
        "from_agent": asker.agent_id,
        "to_agent": addressee.agent_id,
        "message": "Is it safe?",
        "schema": {"type": "object", "properties": {"safe": {"type": "boolean"}}},
    }
    return asker.send("/elicitation/create", body).status_code
