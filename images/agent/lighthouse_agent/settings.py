"""Settings from the environment, checked once and named in every error."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from lighthouse_agent.errors import SettingsError

DEFAULT_KEY_FILE = "/etc/lighthouse/key/key"
DEFAULT_MOUNT = "/mnt/lighthouse/project"
DEFAULT_JUDGE = "lighthouse_agent.rules:make_judge"
DEFAULT_RULES = Path(__file__).parent / "rules.toml"
MAX_AGENT_ID = 128


class BridgeSettings(msgspec.Struct, frozen=True):
    """How to reach the bridge and as whom."""

    url: str
    agent_id: str
    key_file: Path
    # A folder with ca.crt, and tls.crt and tls.key if the bridge asks for a certificate; read again when they change.
    tls_dir: Path | None = None


class RunSettings(msgspec.Struct, frozen=True):
    """What the expert agent process needs; durations in seconds."""

    bridge: BridgeSettings
    agent_type: str
    capabilities: tuple[str, ...]
    mount: Path
    port: int
    heartbeat_seconds: float
    probe_seconds: float
    probe_limit_seconds: float
    log_level: str
    judge: str
    rules: Path
    # Where the certificate is that scrapers and probes are shown; without it the port is in plain text.
    metrics_tls: Path | None = None


def bridge_url(value: str | None) -> str:
    """The bridge's address without a trailing slash; raises SettingsError."""
    if not value:
        raise SettingsError(
            "LIGHTHOUSE_BRIDGE_URL is not set; set it to the bridge's address, as in http://bridge:8765."
        )
    way_out = "write it as http://host:port."
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise SettingsError(f"LIGHTHOUSE_BRIDGE_URL {value!r} is no address ({error}); {way_out}") from None
    if "@" in parts.netloc:
        # The value itself may hold a password, so it is not repeated.
        raise SettingsError(f"LIGHTHOUSE_BRIDGE_URL must not hold a user or password; {way_out}")
    plain = all("!" <= c <= "~" for c in value) and not parts.query and not parts.fragment
    if not plain or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError(f"LIGHTHOUSE_BRIDGE_URL {value!r} is not an http or https address; {way_out}")
    return value.rstrip("/")


def bridge_tls_dir(env: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of LIGHTHOUSE_BRIDGE_TLS_DIR; raises SettingsError unless it is absolute."""
    return _folder(env, "LIGHTHOUSE_BRIDGE_TLS_DIR")


def _folder(env: Mapping[str, str], name: str) -> Path | None:
    value = env.get(name)
    if value and not value.startswith("/"):
        raise SettingsError(f"{name} {value!r} is not absolute; write the whole path.")
    return Path(value) if value else None


def agent_id(value: str | None, *, source: str) -> str:
    """An agent id that fits a session token; `source` names where the value came from."""
    if not value:
        raise SettingsError(f"{source} is missing; set it to the name of this agent.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}", value):
        raise SettingsError(
            f"{source} {value[:MAX_AGENT_ID]!r} is not an agent id; use at most {MAX_AGENT_ID} letters, "
            "digits and . _ @ - with a letter or digit first."
        )
    return value


def run_settings(env: Mapping[str, str] = os.environ) -> RunSettings:
    """Settings of `run`; raises SettingsError at the first unusable one."""
    return RunSettings(
        bridge=BridgeSettings(
            url=bridge_url(env.get("LIGHTHOUSE_BRIDGE_URL")),
            agent_id=agent_id(env.get("LIGHTHOUSE_AGENT_ID"), source="LIGHTHOUSE_AGENT_ID"),
            key_file=Path(env.get("LIGHTHOUSE_KEY_FILE") or DEFAULT_KEY_FILE),
            tls_dir=bridge_tls_dir(env),
        ),
        agent_type=_agent_type(env.get("LIGHTHOUSE_AGENT_TYPE")),
        capabilities=_capabilities(env.get("LIGHTHOUSE_AGENT_CAPABILITIES", "")),
        mount=Path(env.get("LIGHTHOUSE_MOUNT") or DEFAULT_MOUNT),
        port=int(_number(env, "LIGHTHOUSE_HEALTH_PORT", 8083, 1, 65535)),
        metrics_tls=_folder(env, "LIGHTHOUSE_METRICS_TLS_DIR"),
        heartbeat_seconds=_number(env, "LIGHTHOUSE_EXPERT_HEARTBEAT_SECONDS", 30, 0.05, 240),
        probe_seconds=_number(env, "LIGHTHOUSE_MOUNT_PROBE_SECONDS", 5, 0.05, 300),
        probe_limit_seconds=_number(env, "LIGHTHOUSE_MOUNT_LIMIT_SECONDS", 2, 0.05, 60),
        log_level=_log_level(env.get("LIGHTHOUSE_LOG_LEVEL") or "info"),
        judge=env.get("LIGHTHOUSE_EXPERT_JUDGE") or DEFAULT_JUDGE,
        rules=Path(env.get("LIGHTHOUSE_EXPERT_RULES") or DEFAULT_RULES),
    )


def _agent_type(value: str | None) -> str:
    if not value:
        raise SettingsError("LIGHTHOUSE_AGENT_TYPE is not set; set it to the expert's kind, as in security.")
    return value


def _capabilities(value: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in value.split(",")) if name)


def _number(env: Mapping[str, str], name: str, default: float, lowest: float, highest: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not lowest <= value <= highest:
        raise SettingsError(f"{name} {text!r} is not a number from {lowest:g} to {highest:g}; correct it.")
    return value


def _log_level(value: str) -> str:
    levels = ("debug", "info", "warning", "error")
    if value.lower() not in levels:
        raise SettingsError(f"LIGHTHOUSE_LOG_LEVEL {value!r} is unknown; use one of {', '.join(levels)}.")
    return value.lower()
