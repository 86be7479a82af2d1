"""Certificates of cert-manager for PostgreSQL and Redis: shown, asked for, and renewed without a failed query."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from cryptography import x509

from ci.cluster.lifecycle import current
from ci.settings import NAMESPACE, RELEASE
from lighthouse_harness.manifests import merge
from tests.live.support import PYTHON, Container, component, eventually, pods
from tests.production.certificates.programs import FILES, PING
from tests.production.certificates.test_certificates import asks, put_foreign
from tests.production.postgres.appends import Appends
from tests.production.postgres.database import Database, write_authority
from tests.production.renewals import renew

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.production.certificates.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live

NAME = f"{RELEASE}-postgres"
# Not the jobs that made them, which have ended, and whose addresses others may have by now.
INSTANCES = (NAMESPACE, f"cnpg.io/cluster={NAME},cnpg.io/podRole=instance")
REDIS_HOST = f"{RELEASE}-redis.{NAMESPACE}.svc.cluster.local"
KEYS = """
import os
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.settings import read_access
facts = Server("127.0.0.1", read_access(os.environ), named=False).facts("keyspace")
print(dict(pair.split("=") for pair in facts.get("db0", "keys=0").split(","))["keys"])
"""
# How a client of PostgreSQL asks for TLS.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@pytest.fixture(scope="module")
def database(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The database of the release, with bridges on it and on its Redis."""
    values = merge(release.postgres(), {"redis": release.redis(), "bridge": {"redis": {"own": True}}})
    release.upgrade("cert-manager", certificates={"hours": 1}, **values)
    authority = write_authority(release.cluster, NAME, tmp_path_factory.mktemp("database"), "tls")
    found = Database(release.cluster, NAME, authority)
    eventually(found.healthy, 600, "the database is healthy")
    yield found
    # The chart keeps it, whatever becomes of the release.
    release.cluster.kubectl("delete", "clusters.postgresql.cnpg.io", NAME, "-n", NAMESPACE, "--wait=true")


def shown(address: str, host: str, authority: Path) -> str:
    """The serial number of the certificate that an instance shows to a client who verifies `host`."""
    context = ssl.create_default_context(cafile=str(authority))
    with socket.create_connection((address, 5432), timeout=10) as plain:
        plain.sendall(SSL_REQUEST)
        assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            assert wrapped.version() == "TLSv1.3"
            # Without the nought that makes its digits even.
            return str((wrapped.getpeercert() or {})["serialNumber"]).lstrip("0")


def shown_by(instance: dict[str, Any], host: str, authority: Path) -> str:
    """The serial number of the certificate that one instance shows, asked on its machine: this host has no way to
    the addresses of pods."""
    spaces = {node.name: node.namespace for node in current()}
    in_node = ["nsenter", f"--net=/run/netns/{spaces[instance['spec']['nodeName']]}"]
    place = ["-connect", f"{instance['status']['podIP']}:5432", "-starttls", "postgres"]
    verified = ["-verify_return_error", "-verify_hostname", host, "-CAfile", str(authority)]
    asked = [*in_node, "openssl", "s_client", *place, *verified]
    pem = subprocess.run(asked, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=30).stdout
    return f"{x509.load_pem_x509_certificate(pem).serial_number:X}"


class Connections(threading.Thread):
    """Clients that connect anew all the time, verify the server, and ask it something."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._parameters: dict[str, Any] = database.parameters("bridge", connect_timeout=10)
        self._stopped = threading.Event()
        self.made = 0
        self.errors: list[str] = []

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            try:
                with psycopg.connect(**self._parameters) as connection:
                    connection.execute("SELECT 1")
                self.made += 1
            except psycopg.Error as error:
                self.errors.append(str(error))

    def __enter__(self) -> Connections:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()


@pytest.mark.proves(25, level="running")
def test_instances_show_it_for_the_name_of_each_service_and_bridges_believe_it(
    release: Release, database: Database, client: Container, tmp_path: Path
) -> None:
    serials = {
        shown(database.address(service), f"{NAME}-{service}.{NAMESPACE}.svc", database.authority)
        for service in ("rw", "ro", "r")
    }
    assert len(serials) == 1
    replicas = write_authority(release.cluster, NAME, tmp_path, "ca")
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(database.address(), f"{NAME}-rw", replicas)
    asks(client)


@pytest.mark.proves(25, level="survives")
def test_its_renewal_fails_no_query(
    release: Release, database: Database, client: Container, report: Report
) -> None:
    instances = pods(release.cluster, *INSTANCES)
    assert len(instances) == 3
    primary, before = database.primary(), release.restarts(INSTANCES)
    bridges = release.identities((NAMESPACE, "bridge"))

    def all_shown() -> set[str]:
        return {shown_by(instance, f"{NAME}-rw", database.authority) for instance in instances}

    (former,) = all_shown()
    with Appends(database, f"renewed-{time.time()}") as appends, Connections(database) as connections:
        begin = time.monotonic()
        renew(release.cluster, NAMESPACE, f"{NAME}-tls")
        eventually(lambda: former not in all_shown(), 180, "every instance shows the new certificate")
        took = time.monotonic() - begin
        appends.reach(200)
        appends.stop()
        pause = appends.outage(begin).seconds
    assert len(all_shown()) == 1
    assert (appends.errors, connections.errors) == ([], [])
    assert appends.lost() == []
    assert connections.made > 20
    assert (database.primary(), release.restarts(INSTANCES)) == (primary, before)
    assert release.identities((NAMESPACE, "bridge")) == bridges
    asks(client)
    report.row("PostgreSQL: a renewed certificate is shown by all instances after, s", f"{took:.0f}")
    asked = f"{len(appends.acknowledged)} appends, {connections.made} new connections (0)"
    report.row("PostgreSQL: asked while it was renewed (failed)", asked)
    report.row("PostgreSQL: longest pause between two appends then, s", f"{pause:.1f}")


@pytest.mark.proves(25, level="running")
def test_redis_takes_clients_of_its_authority_alone(
    database: Database, client: Container, tmp_path: Path
) -> None:
    assert database.healthy()
    foreign = put_foreign(client, tmp_path)
    folders = {"known": FILES, "none": "", "another": foreign}
    told = {who: client.python(PING, REDIS_HOST, FILES, folder) for who, folder in folders.items()}
    assert told["known"].startswith("-NOAUTH"), told
    # The alert, or that the connection is gone, whichever comes first.
    assert {who for who, answer in told.items() if "Error" not in answer.split()[0]} == {"known"}, told


@pytest.mark.proves(25, level="survives")
def test_bridges_show_redis_a_renewed_certificate_without_a_restart(
    release: Release, database: Database, client: Container, report: Report
) -> None:
    assert database.healthy()
    (bridge,) = pods(release.cluster, NAMESPACE, component("bridge"))
    before = Container(release.cluster, NAMESPACE, bridge["metadata"]["name"], "bridge")
    file = "print(open('/etc/lighthouse/redis-tls/tls.crt').read())"
    former, bridges = before.python(file), release.identities((NAMESPACE, "bridge"))
    eventually(lambda: _written(release, client) > 0, 60, "bridges write into Redis")
    begin = time.monotonic()
    renew(release.cluster, NAMESPACE, f"{RELEASE}-redis-client-tls")
    eventually(lambda: before.python(file) != former, 180, "bridges have the new certificate")
    took = time.monotonic() - begin
    # It keeps nothing, and what bridges write into it afterwards is over new connections.
    release.cluster.kubectl("delete", "pod", f"{RELEASE}-redis-0", "-n", NAMESPACE, "--wait=true")
    eventually(lambda: _written(release, client) > 0, 120, "bridges write into the Redis that came anew")
    assert release.identities((NAMESPACE, "bridge")) == bridges
    report.row("Redis: bridges have a renewed certificate to show after, s", f"{took:.0f}")


def _written(release: Release, client: Container) -> int:
    """How many keys Redis has after bridges were asked; none while it is away."""
    asks(client)
    guard = Container(release.cluster, NAMESPACE, f"{RELEASE}-redis-0", "guard")
    done = guard.run(PYTHON, "-I", "-c", KEYS)
    return int(done.stdout) if done.returncode == 0 else 0
