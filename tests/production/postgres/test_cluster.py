"""The chart's database on a real CloudNativePG: three instances on three nodes, tuned, encrypted, replicated."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import psycopg
import pytest
import yaml

from ci.settings import NAMESPACE, RELEASE

if TYPE_CHECKING:
    from tests.production.postgres.database import Database


@pytest.mark.proves(10, level="running")
def test_three_instances_are_ready_on_three_nodes(database: Database) -> None:
    pods = database.cluster.get(
        "pods", "-n", NAMESPACE, "-l", f"cnpg.io/cluster={database.name},cnpg.io/podRole=instance"
    )
    assert database.healthy()
    assert len({pod["spec"]["nodeName"] for pod in pods["items"]}) == 3


def test_a_commit_needs_one_of_two_replicas(database: Database) -> None:
    names = database.superuser("SHOW synchronous_standby_names")
    assert re.fullmatch(r'ANY 1 \((".+","?.+")\)', names), names
    assert database.streaming() == 2
    quorum = database.cluster.get("failoverquorums.postgresql.cnpg.io", database.name, "-n", NAMESPACE)
    assert len(quorum["status"]["standbyNames"]) == 2


@pytest.mark.proves(11, level="running")
def test_the_server_runs_with_every_parameter_of_the_chart(database: Database) -> None:
    manifests = yaml.safe_load_all(database.cluster.helm("get", "manifest", RELEASE, "-n", NAMESPACE))
    (wanted,) = (
        item["spec"]["postgresql"]["parameters"] for item in manifests if item and item["kind"] == "Cluster"
    )
    assert len(wanted) > 25
    with database.connect("exporter") as connection:
        shown = {name: connection.execute(f"SHOW {name}").fetchall()[0][0] for name in wanted}
        pending = connection.execute("SELECT name FROM pg_settings WHERE pending_restart").fetchall()
    assert {
        name: (value, shown[name]) for name, value in wanted.items() if not same(value, shown[name])
    } == {}
    assert pending == []


UNITS = {"kB": 1, "MB": 1024, "GB": 1024**2, "ms": 1, "s": 1000, "min": 60000}


def same(wanted: str, shown: str) -> bool:
    """Whether two settings are equal, whatever unit each is written in."""
    return amount(wanted) == amount(shown)


def amount(text: str) -> object:
    """A number in kilobytes or milliseconds, or the text itself."""
    found = re.fullmatch(r"(\d+)(kB|MB|GB|ms|s|min)", text)
    return int(found[1]) * UNITS[found[2]] if found else text


def test_audit_records_changes_as_json(database: Database) -> None:
    with database.connect("migrator") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS audited (n int)")
        connection.execute("DROP TABLE audited")
    log = database.cluster.kubectl(
        "logs", database.primary(), "-n", NAMESPACE, "-c", "postgres", "--since=60s"
    )
    records = [json.loads(line) for line in log.splitlines() if '"logger":"pgaudit"' in line]
    said = {record["record"]["audit"]["command"]: record["record"]["user_name"] for record in records}
    assert said["DROP TABLE"] == "migrator"


OLD_TLS = {"ssl_min_protocol_version": "TLSv1.2", "ssl_max_protocol_version": "TLSv1.2"}


@pytest.mark.parametrize(
    ("changes", "said"), [({"sslmode": "disable"}, "no encryption"), (OLD_TLS, "protocol version")]
)
def test_a_client_without_tls_or_with_an_old_one_is_refused(
    database: Database, changes: dict[str, str], said: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match=said):
        database.connect("bridge", **changes)


def test_a_client_knows_the_server_by_its_certificate(database: Database) -> None:
    with database.connect("bridge") as connection:
        assert connection.info.parameter_status("server_version")
        assert connection.pgconn.ssl_in_use
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        database.connect("bridge", host="another-postgres-rw")


def test_pods_hold_to_the_restricted_level(database: Database) -> None:
    labels = database.cluster.get("namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
