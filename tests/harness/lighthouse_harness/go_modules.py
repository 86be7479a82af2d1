"""Pinned Go modules as a source of truth: Kubernetes publishes its schemas and fixtures in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

from .render import ToolError

_TIMEOUT_SECONDS = 600


@lru_cache(maxsize=32)
def module_folder(path: str, version: str) -> Path:
    """The unpacked folder of a Go module, downloaded and checked against Go's checksum database if new.

    Raises `ToolError` when Go is missing or the module cannot be had.
    """
    known = _module_cache() / f"{_escaped(path)}@{version}"
    if known.is_dir():
        return known
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).is_file():
        raise ToolError(f"Go is needed once, to download {path}@{version}; put go on the PATH.")
    command = [go, "mod", "download", "-json", f"{path}@{version}"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", timeout=_TIMEOUT_SECONDS
    )
    if result.returncode:
        raise ToolError(
            f"{path}@{version} cannot be downloaded: {' '.join((result.stdout + result.stderr).split())}"
        )
    return Path(json.loads(result.stdout)["Dir"])


def _module_cache() -> Path:
    named = os.environ.get("GOMODCACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("GOPATH") or Path.home() / "go").joinpath("pkg", "mod")


def _escaped(path: str) -> str:
    """Go writes an upper-case letter as `!` and its lower-case form."""
    return "".join(f"!{letter.lower()}" if letter.isupper() else letter for letter in path)
