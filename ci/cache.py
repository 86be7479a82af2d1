"""A folder of results keyed by what they were made of, safe to interrupt and to share between checkouts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ci.settings import CACHE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def digest(*parts: str | bytes | Path) -> str:
    """16 hexadecimal digits that stand for the parts' contents; a path stands for its file's bytes."""
    whole = hashlib.sha256()
    for part in parts:
        content = (
            part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        )
        whole.update(len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()[:16]


def tree_digest(paths: Iterable[Path], base: Path) -> str:
    """`digest` of all files at or below the paths, with their names relative to `base`."""
    parts: list[str | bytes | Path] = []
    for path in sorted(paths):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                parts += [str(file.relative_to(base)), "x" if os.access(file, os.X_OK) else "-", file]
    return digest(*parts)


@contextmanager
def locked(path: Path, held: str = "") -> Iterator[None]:
    """Hold an exclusive lock on a file; another process waits here, and says `held` on standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if held:
                print(held, file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached(kind: str, key: str, make: Callable[[Path], None], *, keep: int = 3) -> tuple[Path, bool]:
    """The folder ``CACHE/kind/key`` and whether it was there already.

    `make` fills an empty folder that becomes the result only when it returns, so a killed run leaves no half
    result; what such a run left is removed. Of each kind the `keep` folders used last stay.
    """
    folder = CACHE / kind
    result = folder / key
    with locked(folder / ".lock"):
        if result.is_dir():
            os.utime(result)
            return result, True
        for leftover in folder.glob("*.partial"):
            shutil.rmtree(leftover)
        partial = folder / f"{key}.partial"
        partial.mkdir()
        make(partial)
        partial.rename(result)
        os.utime(result)
        old = sorted(
            (f for f in folder.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True
        )
        for stale in old[keep:]:
            shutil.rmtree(stale)
    return result, False
