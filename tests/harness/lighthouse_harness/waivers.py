"""Exceptions that a chart's owner accepts, each with its reason; one that excuses nothing is an error."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .findings import Finding, Verdict
from .manifests import load_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class WaiverError(ValueError):
    """A waiver cannot be read, has expired, or excuses nothing."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """Findings that are accepted: shell patterns for check, object and path, and why."""

    check: str
    object: str
    reason: str
    path: str = "*"
    expires: datetime.date | None = None
    """The last day on which it counts; none means it does not end."""

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one that this waiver accepts."""
        pairs = ((finding.check, self.check), (finding.object, self.object), (finding.path, self.path))
        return all(fnmatchcase(text, pattern.replace("[", "[[]")) for text, pattern in pairs)


@dataclass(slots=True)
class Waivers:
    """A set of waivers that remembers which of them were needed."""

    entries: tuple[Waiver, ...] = ()
    used: set[Waiver] = field(default_factory=set)

    def apply(self, verdict: Verdict) -> Verdict:
        """The verdict without the findings that are accepted."""
        kept = tuple(finding for finding in verdict.findings if not self._accepts(finding))
        return Verdict(verdict.check, verdict.examined, kept)

    def _accepts(self, finding: Finding) -> bool:
        covering = [waiver for waiver in self.entries if waiver.covers(finding)]
        self.used.update(covering)
        return bool(covering)

    def unused(self) -> tuple[Waiver, ...]:
        """Waivers that excused nothing so far."""
        return tuple(waiver for waiver in self.entries if waiver not in self.used)


def read_waivers(path: Path, today: datetime.date) -> Waivers:
    """Read a YAML list of `{check, object, path?, reason, expires?}`.

    Raises `WaiverError` for an unknown or missing field, an empty reason, and a waiver past its day.
    """
    entries = load_yaml(path.read_text(encoding="utf-8")) or []
    return Waivers(tuple(_checked(entry, path, today) for entry in entries))


def make_waivers(entries: Iterable[Waiver]) -> Waivers:
    """Waivers written in Python."""
    return Waivers(tuple(entries))


def _checked(entry: Mapping[str, Any], path: Path, today: datetime.date) -> Waiver:
    allowed: Sequence[str] = ("check", "object", "path", "reason", "expires")
    unknown = sorted(set(entry) - set(allowed))
    if unknown or not all(entry.get(name) for name in ("check", "object", "reason")):
        raise WaiverError(
            f"A waiver in {path} needs check, object and reason (path and expires if wanted), not {entry}."
        )
    expires = None
    if entry.get("expires"):
        try:
            expires = datetime.date.fromisoformat(str(entry["expires"]))
        except ValueError as error:
            raise WaiverError(
                f"The waiver for {entry['check']} in {path} expires on no date: {error}."
            ) from error
        if expires < today:
            raise WaiverError(f"The waiver for {entry['check']} in {path} ended on {expires}; renew it.")
    fields = {name: str(entry[name]) for name in ("check", "object", "path", "reason") if entry.get(name)}
    return Waiver(**fields, expires=expires)
