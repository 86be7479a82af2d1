"""The local cluster's API, through kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.console import run
from ci.settings import KUBECONFIG

if TYPE_CHECKING:
    from pathlib import Path


def kubectl(program: Path, *words: str | Path, stdin: bytes | None = None, hint: str = "") -> str:
    """Run kubectl as the cluster's administrator and return what it prints."""
    return run([program, "--kubeconfig", KUBECONFIG, *words], stdin=stdin, hint=hint)


def apply(program: Path, manifests: bytes | Path) -> None:
    """Apply manifests, given as such or as a file, server-side."""
    words = ["apply", "--server-side", "--force-conflicts", "--filename"]
    if isinstance(manifests, bytes):
        kubectl(program, *words, "-", stdin=manifests)
    else:
        kubectl(program, *words, manifests)
