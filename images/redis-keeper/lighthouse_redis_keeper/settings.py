"""What the environment says. Passwords are named by file and read at every use, since they rotate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lighthouse_redis_keeper.errors import SettingsError
from lighthouse_redis_keeper.metrics_tls import VARIABLE as METRICS_TLS
from lighthouse_redis_keeper.planner import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, kw_only=True)
class Access:
    """How nodes are reached: the user, the folder of users' passwords, and that of certificates."""

    users: Path
    user: str = "keeper"
    tls: Path | None = None
    """The folder with ca.crt, and with tls.crt and tls.key if nodes are shown any; None is a connection without TLS."""
    port: int = 6379
    seconds: float = 2.0
    """How long a connection or a command may take."""

    def passwords(self, user: str = "") -> list[str]:
        """The passwords of a user, the one to use first: one a line. Raises OSError."""
        lines = (self.users / (user or self.user)).read_text().splitlines()
        return [line for line in lines if line]


@dataclass(frozen=True, kw_only=True)
class KeeperSettings:
    """Where the pods are and what the cluster should look like."""

    access: Access
    name: str
    domain: str
    target: Target

    def host(self, pod: int) -> str:
        """The name of a pod's node."""
        return f"{self.name}-{pod}.{self.domain}"


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What the guard of one pod looks after."""

    access: Access
    rules: Path
    """The file of users' rules, as Redis reads it, without passwords."""
    certificates: Path
    """The folder with tls.crt, tls.key and ca.crt."""
    signals: Path
    """The folder in which the node's container asks to stop and reads that it may."""
    clustered: bool
    handover_seconds: float


def read_access(env: Mapping[str, str], user: str = "keeper") -> Access:
    """How nodes are reached; raises SettingsError."""
    return Access(
        user=user,
        users=_folder(env, "LIGHTHOUSE_REDIS_USERS_DIR"),
        tls=_folder(env, "LIGHTHOUSE_REDIS_TLS_DIR"),
    )


def read_keeper(env: Mapping[str, str]) -> KeeperSettings:
    """The keeper's settings; raises SettingsError."""
    return KeeperSettings(
        access=read_access(env),
        name=_text(env, "LIGHTHOUSE_REDIS_NAME"),
        domain=_text(env, "LIGHTHOUSE_REDIS_DOMAIN"),
        target=Target(
            _number(env, "LIGHTHOUSE_REDIS_PRIMARIES", 3), _number(env, "LIGHTHOUSE_REDIS_REPLICAS", 0)
        ),
    )


def read_guard(env: Mapping[str, str]) -> GuardSettings:
    """The guard's settings; raises SettingsError."""
    mode = _text(env, "LIGHTHOUSE_REDIS_MODE")
    if mode not in {"cluster", "standalone"}:
        raise SettingsError(f"LIGHTHOUSE_REDIS_MODE is {mode!r}; set it to cluster or standalone.")
    return GuardSettings(
        access=read_access(env),
        rules=_folder(env, "LIGHTHOUSE_REDIS_RULES_FILE"),
        certificates=_folder(env, "LIGHTHOUSE_REDIS_TLS_DIR"),
        signals=_folder(env, "LIGHTHOUSE_REDIS_SIGNALS_DIR"),
        clustered=mode == "cluster",
        handover_seconds=float(_number(env, "LIGHTHOUSE_REDIS_HANDOVER_SECONDS", 1)),
    )


def read_level(env: Mapping[str, str]) -> str:
    """From which level on to log; raises SettingsError."""
    level = env.get("LIGHTHOUSE_LOG_LEVEL", "info")
    if level not in LEVELS:
        raise SettingsError(f"LIGHTHOUSE_LOG_LEVEL is {level!r}; use one of {', '.join(LEVELS)}.")
    return level


def read_metrics_tls(env: Mapping[str, str]) -> Path | None:
    """Where the certificate is that scrapers are shown, None for plain text; raises SettingsError."""
    return _folder(env, METRICS_TLS) if env.get(METRICS_TLS) else None


def _text(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise SettingsError(f"{name} is not set; set it as the chart does.")
    return env[name]


def _folder(env: Mapping[str, str], name: str) -> Path:
    path = Path(_text(env, name))
    if not path.is_absolute():
        raise SettingsError(f"{name} is {str(path)!r}; it must be an absolute path.")
    return path


def _number(env: Mapping[str, str], name: str, least: int) -> int:
    text = _text(env, name)
    if not text.isdecimal() or int(text) < least:
        raise SettingsError(f"{name} is {text!r}; it must be a whole number of at least {least}.")
    return int(text)
