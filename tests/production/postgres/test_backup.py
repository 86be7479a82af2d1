"""The runbook, command by command: a backup, damage, and the database as it was a second before."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE, ROOT
from tests.live.support import eventually
from tests.production.postgres import runbook
from tests.production.postgres.appends import Appends
from tests.production.postgres.conftest import PROFILE, merged
from tests.production.postgres.database import CLUSTER, Database, write_authority
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RESTORED = "lighthouse-restored"
ROWS = "SELECT run, number, body, at FROM appends ORDER BY run, number"


@pytest.fixture(name="variables", scope="module")
def _variables(values: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = merged([PROFILE, values], tmp_path_factory.mktemp("runbook") / "values.json")
    return {
        "NAMESPACE": NAMESPACE,
        "DATABASE": CLUSTER,
        "RESTORED": RESTORED,
        "CHART": str(ROOT / "charts" / "lighthouse"),
        "VALUES": str(file),
    }


@pytest.fixture(name="backed_up", scope="module")
def _backed_up(database: Database, variables: dict[str, str]) -> Database:
    """The database after the runbook's backup."""
    begin = time.monotonic()
    runbook.run("backup", database.cluster.tools, variables)
    Report("postgres-restore").row("base backup", f"{time.monotonic() - begin:.1f} s")
    return database


def test_the_page_has_all_its_commands() -> None:
    assert list(runbook.commands()) == ["look", "backup", "archive", "restore", "verify", "remove"]


@pytest.mark.proves(12, level="running")
def test_a_backup_completes_and_wal_is_archived(backed_up: Database, variables: dict[str, str]) -> None:
    said = runbook.run("look", backed_up.cluster.tools, variables)
    assert "ContinuousArchiving=True" in said
    assert "LastBackupSucceeded=True" in said
    assert "firstRecoverabilityPoint" in said
    store = backed_up.cluster.get("objectstores.barmancloud.cnpg.io", CLUSTER, "-n", NAMESPACE)
    assert store["spec"]["retentionPolicy"] == "7d"


@pytest.fixture(name="removed")
def _removed(variables: dict[str, str], database: Database) -> Iterator[None]:
    yield
    runbook.run("remove", database.cluster.tools, variables)


@pytest.mark.proves(12, level="survives")
@pytest.mark.usefixtures("removed")
def test_dropped_data_is_restored_to_the_second_before(
    backed_up: Database, variables: dict[str, str], tmp_path: Path
) -> None:
    cluster = backed_up.cluster
    with Appends(backed_up, "restore") as load:
        load.reach(100)
    before = backed_up.superuser(ROWS)
    with backed_up.connect("bridge") as connection:
        time.sleep(0.2)
        ((moment,),) = connection.execute("SELECT clock_timestamp()").fetchall()
        time.sleep(0.5)
        connection.execute("INSERT INTO appends (run, number, body) VALUES ('too late', 1, 'x')")
        time.sleep(0.5)
    with backed_up.connect("migrator") as connection:
        connection.execute("DROP TABLE appends")
    assert len(before.splitlines()) > 100
    begin = time.monotonic()
    runbook.run("archive", cluster.tools, variables)
    archived = time.monotonic() - begin
    runbook.run("restore", cluster.tools, variables | {"TIME": moment.isoformat(" ")})
    served = time.monotonic() - begin
    restored = Database(
        cluster, f"{RESTORED}-postgres", write_authority(cluster, f"{RESTORED}-postgres", tmp_path)
    )
    after = restored.superuser(ROWS)
    verified = time.monotonic() - begin
    assert "appends" in runbook.run("verify", cluster.tools, variables)

    assert after.splitlines() == before.splitlines()
    report = Report("postgres-restore")
    report.row("WAL in the archive", f"{archived:.1f} s")
    report.row("first instance serves", f"{served:.1f} s")
    report.row("rows compared, all equal", f"{len(after.splitlines())} after {verified:.1f} s")
    report.row("SHA-256 of the rows", hashlib.sha256(after.encode()).hexdigest())

    with restored.connect("bridge") as connection:  # the roles came back with logins of the new release
        connection.execute("INSERT INTO appends (run, number, body) VALUES ('after', 1, 'x')")
    eventually(lambda: archives_under(restored) == restored.name, 300, "the restored database archives")


def archives_under(database: Database) -> str:
    """The name under which a database archives, once it does; empty before."""
    conditions = {c["type"]: c["status"] for c in database.status()["conditions"]}
    if conditions.get("ContinuousArchiving") != "True":
        return ""
    spec = database.cluster.get("clusters.postgresql.cnpg.io", database.name, "-n", NAMESPACE)["spec"]
    (plugin,) = spec["plugins"]
    name: str = plugin["parameters"]["serverName"]
    return name
