"""What the environment decides: read once at start, checked, and never changed afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from .certificate import Tls
from .environment import SettingsError, read_number, read_optional_path, read_path, read_port
from .metrics_tls import VARIABLE as METRICS_TLS
from .postgres_connection import PostgresSettings
from .redis_settings import RedisSettings, read_redis_settings
from .remote import Remote, read_remote

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked settings of one bridge process. Durations are seconds, sizes bytes."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod listens on its own network namespace
    port: int = 8765
    metrics_port: int = 8080
    # Where the certificate is that scrapers are shown; without it metrics are in plain text.
    metrics_tls: Path | None = None
    # Without it clients speak in plain text. With it probes do, on a port of their own.
    tls: Tls | None = None
    probe_port: int = 8766
    log_level: str = "info"
    event_store_path: Path = Path("/var/lib/lighthouse/events.db")
    # Where PostgreSQL is the store; the file above is not used then.
    postgres: PostgresSettings | None = None
    auth_secret_file: Path = Path("/etc/lighthouse/auth/auth-secret")
    keys_dir: Path = Path("/etc/lighthouse/keys")
    rules_dir: Path = Path("/opt/lighthouse/rules")
    organisation_rules_dir: Path | None = None
    patterns_file: Path = Path("/opt/lighthouse/patterns/model.json")
    rego_dir: Path | None = None
    rego_server: Remote | None = None
    # Where spans go, and the share of traces that are kept of those that begin here.
    traces: Remote | None = None
    traces_ratio: float = 0.1
    project_roots: tuple[str, ...] = ()
    drain_seconds: float = 10.0
    # How long `migrate` waits for a database that is not there yet.
    migration_wait_seconds: float = 60.0
    min_free_bytes: int = 16 * 1024 * 1024
    search_seconds: float = 5.0
    heartbeat_seconds: float = 5.0
    slow_reader_seconds: float = 10.0
    rules_reload_seconds: float = 2.0
    # Hooks give up after five seconds, so the default answer to one comes well before.
    validation_wait_seconds: float = 3.0
    expert_seconds: float = 30.0
    review_seconds: float = 300.0
    # Requests that an agent may make in a minute and all agents in a second; 0 is no limit. The chart's
    # limits.agentPerMinute is the same.
    agent_per_minute: int = 12_000
    total_per_second: int = 0
    # How many bridges there are at most; without Redis each admits its share of a limit.
    replicas: int = 1
    # Whose X-Forwarded-For is believed.
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    redis: RedisSettings | None = None


def read_settings(env: Mapping[str, str]) -> Settings:
    """Read and check every `LIGHTHOUSE_*` variable; raises SettingsError naming the first wrong one."""
    default = Settings()
    level = env.get("LIGHTHOUSE_LOG_LEVEL", default.log_level).lower()
    if level not in LOG_LEVELS:
        raise SettingsError(f"LIGHTHOUSE_LOG_LEVEL is {level!r}; use one of {', '.join(LOG_LEVELS)}.")
    host = env.get("LIGHTHOUSE_HOST", default.host)
    if not host:
        raise SettingsError("LIGHTHOUSE_HOST is empty; name the address to listen on, such as 0.0.0.0.")
    port = read_port(env, "LIGHTHOUSE_PORT", default.port)
    metrics_port = read_port(env, "LIGHTHOUSE_METRICS_PORT", default.metrics_port)
    if port == metrics_port:
        raise SettingsError(f"LIGHTHOUSE_PORT and LIGHTHOUSE_METRICS_PORT are both {port}; choose two ports.")
    probe_port = read_port(env, "LIGHTHOUSE_PROBE_PORT", default.probe_port)
    return Settings(
        host=host,
        port=port,
        metrics_port=metrics_port,
        metrics_tls=read_optional_path(env, METRICS_TLS),
        tls=_tls(env),
        probe_port=probe_port,
        log_level=level,
        event_store_path=read_path(env, "LIGHTHOUSE_EVENT_STORE_PATH", default.event_store_path),
        postgres=_postgres(env),
        auth_secret_file=read_path(env, "LIGHTHOUSE_AUTH_SECRET_FILE", default.auth_secret_file),
        keys_dir=read_path(env, "LIGHTHOUSE_KEYS_DIR", default.keys_dir),
        rules_dir=read_path(env, "LIGHTHOUSE_RULES_DIR", default.rules_dir),
        organisation_rules_dir=read_optional_path(env, "LIGHTHOUSE_ORGANISATION_RULES_DIR"),
        rego_dir=read_optional_path(env, "LIGHTHOUSE_REGO_DIR"),
        rego_server=_policy_server(env),
        traces=read_remote(
            env,
            "LIGHTHOUSE_TRACES",
            "where a collector takes spans, such as https://collector:4318/v1/traces",
        ),
        traces_ratio=read_number(env, "LIGHTHOUSE_TRACES_RATIO", default.traces_ratio, 0, 1),
        patterns_file=read_path(env, "LIGHTHOUSE_PATTERNS_FILE", default.patterns_file),
        project_roots=_roots(env.get("LIGHTHOUSE_PROJECT_ROOTS", "")),
        drain_seconds=read_number(env, "LIGHTHOUSE_DRAIN_SECONDS", default.drain_seconds, 0, 3600),
        migration_wait_seconds=read_number(
            env, "LIGHTHOUSE_MIGRATION_WAIT_SECONDS", default.migration_wait_seconds, 0, 86_400
        ),
        min_free_bytes=int(read_number(env, "LIGHTHOUSE_MIN_FREE_BYTES", default.min_free_bytes, 0, 2**40)),
        search_seconds=read_number(env, "LIGHTHOUSE_SEARCH_SECONDS", default.search_seconds, 0.1, 60),
        heartbeat_seconds=read_number(
            env, "LIGHTHOUSE_HEARTBEAT_SECONDS", default.heartbeat_seconds, 0.1, 60
        ),
        slow_reader_seconds=read_number(
            env, "LIGHTHOUSE_SLOW_READER_SECONDS", default.slow_reader_seconds, 0.1, 600
        ),
        rules_reload_seconds=read_number(
            env, "LIGHTHOUSE_RULES_RELOAD_SECONDS", default.rules_reload_seconds, 0.1, 3600
        ),
        validation_wait_seconds=read_number(
            env, "LIGHTHOUSE_VALIDATION_WAIT_SECONDS", default.validation_wait_seconds, 0, 30
        ),
        expert_seconds=read_number(env, "LIGHTHOUSE_EXPERT_SECONDS", default.expert_seconds, 0.1, 30),
        review_seconds=read_number(env, "LIGHTHOUSE_REVIEW_SECONDS", default.review_seconds, 1, 86_400),
        agent_per_minute=int(
            read_number(env, "LIGHTHOUSE_AGENT_PER_MINUTE", default.agent_per_minute, 0, 10_000_000)
        ),
        total_per_second=int(
            read_number(env, "LIGHTHOUSE_TOTAL_PER_SECOND", default.total_per_second, 0, 1_000_000)
        ),
        replicas=int(read_number(env, "LIGHTHOUSE_REPLICAS", default.replicas, 1, 1000)),
        redis=read_redis_settings(env),
        trusted_proxies=_networks(env.get("LIGHTHOUSE_TRUSTED_PROXIES", "")),
    )


def _postgres(env: Mapping[str, str]) -> PostgresSettings | None:
    hosts = env.get("LIGHTHOUSE_DATABASE_HOST", "")
    if not hosts:
        return None
    default = PostgresSettings(hosts=hosts)
    return PostgresSettings(
        hosts=hosts,
        port=read_port(env, "LIGHTHOUSE_DATABASE_PORT", default.port),
        database=env.get("LIGHTHOUSE_DATABASE_NAME", default.database),
        read_hosts=env.get("LIGHTHOUSE_DATABASE_READ_HOST", ""),
        secret_dir=read_path(env, "LIGHTHOUSE_DATABASE_SECRET_DIR", default.secret_dir),
        tls_dir=read_path(env, "LIGHTHOUSE_DATABASE_TLS_DIR", default.tls_dir),
        retry_seconds=read_number(env, "LIGHTHOUSE_DATABASE_RETRY_SECONDS", default.retry_seconds, 0, 60),
    )


def _policy_server(env: Mapping[str, str]) -> Remote | None:
    example = "a document of an OPA server, such as https://opa:8181/v1/data/lighthouse/decisions"
    server = read_remote(env, "LIGHTHOUSE_REGO", example)
    if server is not None and env.get("LIGHTHOUSE_REGO_DIR"):
        raise SettingsError("LIGHTHOUSE_REGO_DIR and LIGHTHOUSE_REGO_URL are both set; keep one.")
    return server


def _tls(env: Mapping[str, str]) -> Tls | None:
    folder = read_optional_path(env, "LIGHTHOUSE_TLS_DIR")
    if folder is None:
        return None
    default = Tls(folder)
    clients = env.get("LIGHTHOUSE_TLS_CLIENTS", "any")
    if clients not in {"any", "verified"}:
        raise SettingsError(
            f"LIGHTHOUSE_TLS_CLIENTS is {clients!r}; use verified, if clients must have a certificate, or any."
        )
    return Tls(
        folder,
        clients == "verified",
        read_number(env, "LIGHTHOUSE_TLS_RELOAD_SECONDS", default.reload_seconds, 0.1, 3600),
        read_number(env, "LIGHTHOUSE_TLS_HANDOVER_SECONDS", default.handover_seconds, 0, 3600),
    )


def _roots(text: str) -> tuple[str, ...]:
    roots = tuple(part.rstrip("/") for part in text.split(":") if part)
    for root in roots:
        if not root.startswith("/") or ".." in root.split("/"):
            raise SettingsError(f"LIGHTHOUSE_PROJECT_ROOTS names {root!r}; each must be an absolute path.")
    return roots


def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(
            f"LIGHTHOUSE_TRUSTED_PROXIES is {text!r} ({error}); list addresses or networks such as 10.0.0.0/8."
        ) from None
