"""A real PostgreSQL server from the distribution's package, with TLS, in a folder of its own."""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lighthouse_bridge.postgres_connection import PostgresSettings
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = Path("/usr/lib/postgresql")
NOBODY = 65534
# A standby listens on the port of its primary, as standbys do: under another address of this machine.
STANDBY_HOST = "127.0.0.2"
# As a server that is to lose nothing; small, since several run beside each other.
OPTIONS = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "ssl": "on",
    "fsync": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
}


def programs() -> Path:
    """The folder with the newest server's programs."""
    found = sorted(VERSIONS.glob("*/bin"), key=lambda path: int(path.parent.name))
    assert found, f"{VERSIONS} holds no PostgreSQL server: install the package postgresql-15."
    return found[-1]


@dataclass
class Postgres:
    """A server and one database on it; `port` is where clients are sent, which may be a proxy."""

    folder: Path
    server_port: int
    password: str
    database: str = "postgres"
    port: int = 0
    host: str = "127.0.0.1"
    options: dict[str, str] = field(default_factory=dict)
    # Shared by all that `replace` makes of one server: it runs once.
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def secret_dir(self) -> Path:
        return self.folder / "secret"

    def settings(self) -> dict[str, str]:
        """The environment of a bridge that keeps its store here."""
        return {
            "LIGHTHOUSE_DATABASE_HOST": self.host,
            "LIGHTHOUSE_DATABASE_PORT": str(self.port or self.server_port),
            "LIGHTHOUSE_DATABASE_NAME": self.database,
            "LIGHTHOUSE_DATABASE_SECRET_DIR": str(self.secret_dir),
            "LIGHTHOUSE_DATABASE_TLS_DIR": str(self.folder / "tls"),
        }

    def client_settings(self) -> PostgresSettings:
        """How a store in process reaches the database, without a proxy between."""
        return PostgresSettings(
            hosts=self.host,
            port=self.server_port,
            database=self.database,
            secret_dir=self.secret_dir,
            tls_dir=self.folder / "tls",
        )

    def create_database(self) -> Postgres:
        """The same server with a new, empty database."""
        name = f"lighthouse_{secrets.token_hex(4)}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return replace(self, database=name)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the test's own, past any proxy, in autocommit mode."""
        return psycopg.connect(
            host=self.host,
            port=self.server_port,
            dbname=self.database,
            user="lighthouse",
            password=self.password,
            sslmode="verify-full",
            sslrootcert=str(self.folder / "tls" / "ca.crt"),
            autocommit=True,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        arguments = [f"-c{name}={value}" for name, value in {**OPTIONS, **self.options}.items()]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [
                    str(programs() / "postgres"),
                    "-D",
                    str(self.folder / "data"),
                    *arguments,
                    f"-cport={self.server_port}",
                    f"-clisten_addresses={self.host}",
                    f"-cunix_socket_directories={self.folder}",
                    f"-cssl_cert_file={self.folder / 'data' / 'server.crt'}",
                    f"-cssl_key_file={self.folder / 'data' / 'server.key'}",
                ],
                stdout=log,
                stderr=log,
                **_unprivileged(),
            )
        self.processes.append(process)
        deadline = time.monotonic() + 30
        while True:
            with suppress(psycopg.OperationalError), self.connect():
                return
            ended = process.poll() is not None or time.monotonic() > deadline
            assert not ended, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT cuts clients off, SIGQUIT is as good as a crash."""
        process = self.processes.pop()
        process.send_signal(number)
        process.wait(30)


@contextmanager
def postgres_server(**options: str) -> Iterator[Postgres]:
    """A running server, gone with its folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lighthouse-postgres-"))
    server = Postgres(folder, free_port(), secrets.token_hex(16), options=options)
    try:
        folder.chmod(0o755)
        _write_secrets(server)
        _initialise(server)
        server.start()
        yield server
    finally:
        if server.processes:
            server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


@contextmanager
def standby_of(primary: Postgres) -> Iterator[Postgres]:
    """A running server that streams from the primary, gone with its folder at the end."""
    folder = Path(tempfile.mkdtemp(prefix="lighthouse-standby-"))
    standby = replace(primary, folder=folder, host=STANDBY_HOST, processes=[])
    try:
        _give(folder)
        subprocess.run(
            [
                str(programs() / "pg_basebackup"),
                f"--dbname=host={primary.host} port={primary.server_port} user=lighthouse sslmode=verify-full "
                # Else libpq looks into a home folder.
                f"sslrootcert={primary.folder / 'tls' / 'ca.crt'} sslcert={folder / 'none'}",
                f"--pgdata={folder / 'data'}",
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            env={"PGPASSWORD": primary.password},
            **_unprivileged(),
        )
        for name in ("secret", "tls"):
            shutil.copytree(primary.folder / name, folder / name)
        standby.start()
        yield standby
    finally:
        if standby.processes:
            standby.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


def _initialise(server: Postgres) -> None:
    data, word = server.folder / "data", server.folder / "initial-password"
    data.mkdir(mode=0o700)
    word.write_text(server.password)
    for path in (data, word):
        _give(path)
    subprocess.run(
        [
            str(programs() / "initdb"),
            "--no-sync",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--username=lighthouse",
            f"--pwfile={word}",
            "-D",
            str(data),
        ],
        check=True,
        capture_output=True,
        **_unprivileged(),
    )
    (data / "pg_hba.conf").write_text(
        "local all all scram-sha-256\nhostssl all,replication all 127.0.0.1/32 scram-sha-256\n"
    )
    for name in ("server.crt", "server.key"):
        shutil.move(server.folder / name, data / name)
        (data / name).chmod(0o600)
        _give(data / name)
    _give(server.folder)


def _write_secrets(server: Postgres) -> None:
    server.secret_dir.mkdir()
    (server.secret_dir / "username").write_text("lighthouse")
    (server.secret_dir / "password").write_text(server.password)
    (server.folder / "tls").mkdir()
    authority, authority_key = certificate("test authority", None)
    served, key = certificate("localhost", (authority, authority_key))
    (server.folder / "tls" / "ca.crt").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (server.folder / "server.crt").write_bytes(served.public_bytes(serialization.Encoding.PEM))
    (server.folder / "server.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def certificate(
    name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for this machine, or an authority's own when nobody issues it; valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName("localhost"),
                    *(x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", STANDBY_HOST)),
                ]
            ),
            critical=False,
        )
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _unprivileged() -> dict[str, Any]:
    # The server refuses to run as root.
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
