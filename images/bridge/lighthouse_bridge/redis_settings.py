"""How Redis is reached: read once at start. What rotates is named by file and read at every connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .environment import SettingsError, read_number, read_optional_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODES = ("standalone", "cluster")


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """Address, identity and patience. `seconds` is how long one call may take before Redis counts as away."""

    host: str
    port: int
    tls: bool
    cluster: bool
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    seconds: float = 0.25


def read_redis_settings(env: Mapping[str, str]) -> RedisSettings | None:
    """The checked `LIGHTHOUSE_REDIS_*` variables, or None when no address is set; raises SettingsError."""
    url = env.get("LIGHTHOUSE_REDIS_URL", "")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 6379
    except ValueError:
        host, port, parts = None, 0, urlsplit("")
    if parts.scheme not in {"redis", "rediss"} or not host or parts.path.strip("/") or parts.query:
        # The text may hold a password, so it is not repeated.
        raise SettingsError(
            "LIGHTHOUSE_REDIS_URL is not an address; write rediss://host:6379, or redis://host:6379 without TLS."
        )
    if parts.username or parts.password:
        raise SettingsError(
            "LIGHTHOUSE_REDIS_URL holds a user or password; name them with LIGHTHOUSE_REDIS_USERNAME and "
            "LIGHTHOUSE_REDIS_PASSWORD_FILE."
        )
    mode = env.get("LIGHTHOUSE_REDIS_MODE", "standalone")
    if mode not in MODES:
        raise SettingsError(f"LIGHTHOUSE_REDIS_MODE is {mode!r}; use one of {', '.join(MODES)}.")
    settings = RedisSettings(
        host=host,
        port=port,
        tls=parts.scheme == "rediss",
        cluster=mode == "cluster",
        username=env.get("LIGHTHOUSE_REDIS_USERNAME") or None,
        password_file=read_optional_path(env, "LIGHTHOUSE_REDIS_PASSWORD_FILE"),
        ca_file=read_optional_path(env, "LIGHTHOUSE_REDIS_CA_FILE"),
        certificate_file=read_optional_path(env, "LIGHTHOUSE_REDIS_CERTIFICATE_FILE"),
        key_file=read_optional_path(env, "LIGHTHOUSE_REDIS_KEY_FILE"),
        seconds=read_number(env, "LIGHTHOUSE_REDIS_SECONDS", RedisSettings.seconds, 0.01, 5),
    )
    if settings.username and not settings.password_file:
        raise SettingsError(
            "LIGHTHOUSE_REDIS_USERNAME is set without LIGHTHOUSE_REDIS_PASSWORD_FILE; name the file of its password."
        )
    if (settings.certificate_file is None) != (settings.key_file is None):
        raise SettingsError(
            "Only one of LIGHTHOUSE_REDIS_CERTIFICATE_FILE and LIGHTHOUSE_REDIS_KEY_FILE is set; set both or neither."
        )
    if not settings.tls and (settings.ca_file or settings.certificate_file):
        raise SettingsError(
            "LIGHTHOUSE_REDIS_URL begins with redis://, but certificates are set; write rediss:// to use them."
        )
    return settings
