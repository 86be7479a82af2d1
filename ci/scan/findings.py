"""What a scanner says of one target, whichever scanner it was."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a finding is about; thresholds are set for each."""

    VULNERABILITY = "vulnerability"
    SECRET = "secret"  # noqa: S105 - a kind of finding
    MANIFEST = "manifest"


class Severity(StrEnum):
    """How bad it is, the worst last."""

    UNKNOWN = "UNKNOWN"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that a scanner found."""

    scanner: str
    kind: Kind
    target: str
    """The image, lock, folder or profile that was scanned."""
    check: str
    """The id of the vulnerability or rule."""
    subject: str
    """The package, file or object that it was found in."""
    severity: Severity
    title: str = ""
    fixed: str = ""
    """The version that puts it right; empty if there is none yet."""

    def __str__(self) -> str:
        cure = f", fixed in {self.fixed}" if self.fixed else ""
        return f"{self.target}: {self.subject}: {self.check} ({self.severity.lower()}{cure}) {self.title}".rstrip()


@dataclass(frozen=True)
class Scan:
    """A target that was scanned: how many things were looked at, and what was found."""

    scanner: str
    target: str
    examined: int
    findings: tuple[Finding, ...] = ()
