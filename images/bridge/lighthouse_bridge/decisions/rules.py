"""Rules as data: files of a folder, checked when loaded, versioned by their content."""

from __future__ import annotations

import hashlib
from pathlib import Path  # noqa: TC003
from typing import Any


class RulesError(ValueError):
    """The rules cannot be used; the message names file and cause."""


class RuleSet:
    """Rules in force."""

    def __init__(self, version: str, count: int) -> None:
        self.version = version
        self.count = count


def fingerprint(folder: Path) -> tuple[Any, ...]:
    """Changes whenever a rule file may have changed."""
    return tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.glob("*.yaml")))


def load_rules(folder: Path) -> RuleSet:
    """Read every rule file."""
    files = sorted(folder.glob("*.yaml"))
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:12]
    return RuleSet(digest, len(files))
