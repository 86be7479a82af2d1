"""Connections to PostgreSQL: where, as whom, and how statements written for both engines are run on it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from .migrations import REVISION, is_current
from .problems import Problem, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Raw = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS = 3
STATEMENT_SECONDS = 30
# A bridge that was cut off holds the commit lock until the server notices.
IDLE_SECONDS = 5
# How often the files are looked at: they change with a rotation, and a commit takes less than a look.
LOOK_SECONDS = 1.0
_PLACEHOLDER = re.compile(r"\?|:([a-z_]+)|%")


@dataclass(frozen=True, kw_only=True)
class PostgresSettings:
    """Where the store is. `hosts` may name several, separated by commas: the one that can be written is used. The
    files `username` and `password` are in `secret_dir`; `ca.crt` and, if the server wants them, `tls.crt` and
    `tls.key` in `tls_dir`. All are read again when they change. A host that is a folder is a Unix socket."""

    hosts: str
    port: int = 5432
    database: str = "lighthouse"
    read_hosts: str = ""
    secret_dir: Path = Path("/etc/lighthouse/database")
    tls_dir: Path = Path("/etc/lighthouse/database-tls")
    retry_seconds: float = 10.0

    def files(self) -> list[Path]:
        """Every file that decides how to connect."""
        tls = [self.tls_dir / name for name in ("ca.crt", "tls.crt", "tls.key")]
        return [self.secret_dir / "username", self.secret_dir / "password", *tls]


@dataclass(eq=False)
class Opened:
    """A connection, and what the files were like when it was made."""

    raw: Raw
    fingerprint: tuple[Any, ...]
    connection: PostgresConnection = field(init=False)
    looked: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.connection = PostgresConnection(self.raw)

    def is_usable(self, settings: PostgresSettings) -> bool:
        """Whether it lives and was made with the files as they were within the last second."""
        if self.raw.closed:
            return False
        if time.monotonic() < self.looked + LOOK_SECONDS:
            return True
        self.looked = time.monotonic()
        return self.fingerprint == fingerprint(settings)


def fingerprint(settings: PostgresSettings) -> tuple[Any, ...]:
    """Changes when one of the files does."""
    found: list[tuple[int, ...] | None] = []
    for path in settings.files():
        try:
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def connect(settings: PostgresSettings, *, reading: bool = False) -> Opened:
    """Open a connection in autocommit mode; one that can be written, or, for `reading`, one of `read_hosts`.

    Raises psycopg.OperationalError, or StoreUnavailableError when a file is missing.
    """
    made_with = fingerprint(settings)
    standby = reading and bool(settings.read_hosts)
    hosts = settings.read_hosts if standby else settings.hosts
    raw = psycopg.connect(
        host=hosts,
        port=settings.port,
        dbname=settings.database,
        user=_secret(settings.secret_dir / "username"),
        password=_secret(settings.secret_dir / "password"),
        target_session_attrs="prefer-standby" if standby else "read-write",
        autocommit=True,
        application_name="lighthouse-bridge",
        client_encoding="UTF8",
        connect_timeout=CONNECT_SECONDS,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
        options=(
            f"-c statement_timeout={STATEMENT_SECONDS}s "
            f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s"
        ),
        **_encryption(settings, hosts),
    )
    return Opened(raw, made_with)


def upgrade(settings: PostgresSettings, raw: Raw, name: str) -> None:
    """Bring the tables to this bridge's revision, if they are not; raises as `connect` does, and
    StoreUnavailableError for a newer schema that this bridge cannot use, or an older one that its role may not
    change."""
    found = raw.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
    if found and found[0] and is_current(PostgresConnection(raw), name):
        return
    (may,) = raw.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchone() or (None,)
    if not may:
        raise _forbidden(raw, name)
    from .migrations.upgrade import upgrade_postgres  # noqa: PLC0415 - most starts need none of it

    with connect(settings).raw as own:
        # Rows may be many: a step takes the time it needs.
        own.execute("SET statement_timeout = 0")
        own.autocommit = False
        try:
            upgrade_postgres(own)
        except psycopg.errors.InsufficientPrivilege:
            raise _forbidden(raw, name) from None


def _forbidden(raw: Raw, name: str) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"{name} does not have the tables of schema {REVISION} yet, and the role {raw.info.user} may not change "
        'them; run "migrate" as the role that owns them'
    )


class PostgresConnection:
    """Runs statements that have `?` or `:name` for values."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def execute(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement; raises Problem 400 for a value that PostgreSQL cannot keep."""
        try:
            return self._raw.execute(translate(sql).encode(), parameters or None)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
            raise _unkeepable(error) from None

    def executemany(
        self, sql: str, parameters: Iterable[Sequence[Any]], /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement for each set of values; raises as `execute` does."""
        cursor = self._raw.cursor()
        try:
            cursor.executemany(translate(sql).encode(), parameters)
        except (psycopg.DataError, psycopg.errors.ProgramLimitExceeded) as error:
            raise _unkeepable(error) from None
        return cursor


@lru_cache(maxsize=1024)
def translate(sql: str) -> str:
    """The statement with psycopg's placeholders; without any when it has none, so that `%` stays as it is."""
    if not re.search(r"\?|:[a-z_]", sql):
        return sql
    return _PLACEHOLDER.sub(_placeholder, sql)


def _placeholder(match: re.Match[str]) -> str:
    if match[0] == "%":
        return "%%"
    return f"%({match[1]})s" if match[1] else "%s"


def _unkeepable(error: psycopg.Error) -> Problem:
    reason = str(error).splitlines()[0].rstrip(".")
    return Problem(400, f"A value cannot be kept: {reason}.")


def _secret(path: Path) -> str:
    try:
        return path.read_text().rstrip("\n")
    except OSError as error:
        raise StoreUnavailableError(
            f"the database credential {path} cannot be read ({error.strerror}); mount the secret there"
        ) from None


def _encryption(settings: PostgresSettings, hosts: str) -> dict[str, Any]:
    if hosts.startswith("/"):
        return {}
    authority = settings.tls_dir / "ca.crt"
    if not authority.is_file():
        raise StoreUnavailableError(
            f"the database's certificate authority {authority} is missing; mount it there"
        )
    found = {"sslmode": "verify-full", "sslrootcert": str(authority)}
    if (settings.tls_dir / "tls.crt").is_file():
        found["sslcert"] = str(settings.tls_dir / "tls.crt")
        found["sslkey"] = str(settings.tls_dir / "tls.key")
    else:
        # Else libpq looks into a home folder.
        found["sslcert"] = found["sslkey"] = str(settings.tls_dir / "none")
    return found
