"""Settings of both programs, read from the environment once at start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lighthouse_fuse_csi.errors import SettingsError
from lighthouse_fuse_csi.metrics_tls import VARIABLE as METRICS_TLS

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS = ("debug", "info", "warning", "error")


class DriverSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the node driver. Times are in seconds."""

    name: str
    node: str
    kubelet: Path
    fuse_device: Path
    connections: Path
    abort_seconds: float
    read_ahead_kib: int
    metrics_port: int
    # Where the certificate is that scrapers are shown; without it the port is in plain text.
    metrics_tls: Path | None = None
    log_level: str

    @property
    def folder(self) -> Path:
        """Where the driver keeps its state on the node."""
        return self.kubelet / "plugins" / self.name

    @property
    def socket(self) -> Path:
        """The one socket of registration and CSI, in the folder that kubelet watches."""
        return self.kubelet / "plugins_registry" / f"{self.name}-reg.sock"


class SidecarSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the sidecar. Times are in seconds, sizes in bytes."""

    bridge_url: str
    tls: Path | None
    agent_id: str
    key_file: Path
    control: Path
    cache: Path
    cache_bytes: int
    prefetch_bytes: int
    stream_bytes: int
    history_views: int
    bridge_seconds: float
    port: int
    metrics_tls: Path | None = None
    log_level: str


def driver_settings(environment: Mapping[str, str]) -> DriverSettings:
    """Read the driver's settings; raises SettingsError."""
    node = environment.get("NODE_NAME", "")
    if not node:
        raise SettingsError("NODE_NAME is empty; set it to the node's name (fieldRef spec.nodeName).")
    return DriverSettings(
        name=environment.get("LIGHTHOUSE_CSI_DRIVER_NAME", "fuse.csi.lighthouse.dev"),
        node=node,
        kubelet=_path(environment, "KUBELET_DIR", "/var/lib/kubelet"),
        fuse_device=_path(environment, "LIGHTHOUSE_CSI_FUSE_DEVICE", "/dev/fuse"),
        connections=_path(environment, "LIGHTHOUSE_CSI_CONNECTIONS_DIR", "/sys/fs/fuse/connections"),
        abort_seconds=_number(environment, "LIGHTHOUSE_CSI_ABORT_SECONDS", 20, 1, 3600),
        read_ahead_kib=int(_number(environment, "LIGHTHOUSE_CSI_READ_AHEAD_KIB", 1024, 4, 16384)),
        metrics_port=int(_number(environment, "LIGHTHOUSE_CSI_PORT", 8082, 0, 65535)),
        metrics_tls=_folder(environment, METRICS_TLS),
        log_level=_choice(environment, "LIGHTHOUSE_LOG_LEVEL", "info", LOG_LEVELS),
    )


def sidecar_settings(environment: Mapping[str, str]) -> SidecarSettings:
    """Read the sidecar's settings; raises SettingsError."""
    url = environment.get("LIGHTHOUSE_BRIDGE_URL", "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise SettingsError(
            f"LIGHTHOUSE_BRIDGE_URL is {url!r}; set it to the bridge's http:// or https:// address."
        )
    agent = environment.get("LIGHTHOUSE_AGENT_ID", "")
    if not agent:
        raise SettingsError(
            "LIGHTHOUSE_AGENT_ID is empty; set it to the agent's name (fieldRef metadata.name)."
        )
    mebi = 1 << 20
    return SidecarSettings(
        bridge_url=url,
        tls=_folder(environment, "LIGHTHOUSE_BRIDGE_TLS_DIR"),
        agent_id=agent,
        key_file=_path(environment, "LIGHTHOUSE_KEY_FILE", "/etc/lighthouse/key/key"),
        control=_path(environment, "LIGHTHOUSE_CONTROL_DIR", "/run/lighthouse-control"),
        cache=_path(environment, "LIGHTHOUSE_CACHE_DIR", "/var/cache/lighthouse"),
        cache_bytes=int(_number(environment, "LIGHTHOUSE_CACHE_MIB", 1024, 16, 1 << 20)) * mebi,
        prefetch_bytes=int(_number(environment, "LIGHTHOUSE_PREFETCH_MIB", 256, 0, 1 << 20)) * mebi,
        stream_bytes=int(_number(environment, "LIGHTHOUSE_STREAM_KIB", 4096, 16, 1 << 20)) * 1024,
        history_views=int(_number(environment, "LIGHTHOUSE_HISTORY_VIEWS", 32, 1, 1024)),
        bridge_seconds=_number(environment, "LIGHTHOUSE_BRIDGE_TIMEOUT_SECONDS", 5, 0.1, 60),
        port=int(_number(environment, "LIGHTHOUSE_FUSE_PORT", 8081, 0, 65535)),
        metrics_tls=_folder(environment, METRICS_TLS),
        log_level=_choice(environment, "LIGHTHOUSE_LOG_LEVEL", "info", LOG_LEVELS),
    )


def _number(environment: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}; set it to a number from {low} to {high}.") from None
    if not low <= value <= high:
        raise SettingsError(f"{name} is {text}; set it to a number from {low} to {high}.")
    return value


def _path(environment: Mapping[str, str], name: str, default: str) -> Path:
    path = Path(environment.get(name) or default)
    if not path.is_absolute():
        raise SettingsError(f"{name} is {str(path)!r}; set it to an absolute path.")
    return path


def _folder(environment: Mapping[str, str], name: str) -> Path | None:
    return _path(environment, name, "") if environment.get(name) else None


def _choice(environment: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = (environment.get(name) or default).lower()
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; set it to one of {', '.join(choices)}.")
    return value
