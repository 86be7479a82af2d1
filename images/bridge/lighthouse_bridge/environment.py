"""Variables of the environment, read and checked one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class SettingsError(ValueError):
    """A setting cannot be used; the message is one sentence for the operator."""


def read_port(env: Mapping[str, str], name: str, default: int) -> int:
    """A port number; raises SettingsError."""
    text = env.get(name, str(default))
    # Kubernetes injects NAME_PORT=tcp://… for a Service called "lighthouse" unless service links are off.
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise SettingsError(f"{name} is {text!r}; it must be a port number from 1 to 65535.")
    return int(text)


def read_number(env: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """A number from `low` to `high`; raises SettingsError."""
    text = env.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SettingsError(f"{name} is {text!r}; it must be a number from {low} to {high}.")
    return value


def read_path(env: Mapping[str, str], name: str, default: Path) -> Path:
    """An absolute path; raises SettingsError. Whether it can be read is no matter of the start: it may be written, or
    rotated, later."""
    path = Path(env.get(name, str(default)))
    if not path.is_absolute():
        raise SettingsError(f"{name} is {str(path)!r}; it must be an absolute path.")
    return path


def read_optional_path(env: Mapping[str, str], name: str) -> Path | None:
    """An absolute path, or None when the variable is empty or missing; raises SettingsError."""
    return read_path(env, name, Path("/")) if env.get(name) else None
