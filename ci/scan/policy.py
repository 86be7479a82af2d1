"""What of the findings is too bad to ship, by policies/scan: thresholds, and exceptions that end."""

from __future__ import annotations

import datetime  # noqa: TC003 - msgspec reads the annotations
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec

from ci.console import Failure
from ci.scan.findings import Finding, Kind, Scan, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_Content = TypeVar("_Content")
Text = Annotated[str, msgspec.Meta(min_length=1)]


class Fails(StrEnum):
    """When findings of a severity fail a scan."""

    ALWAYS = "always"
    FIXABLE = "fixable"
    NEVER = "never"


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """policies/scan/thresholds.yaml."""

    database_maximum_age_hours: Annotated[int, msgspec.Meta(gt=0)]
    database_minimum_entries: dict[Text, Annotated[int, msgspec.Meta(gt=0)]]
    fails: dict[Kind, dict[Severity, Fails]]

    def fail(self, finding: Finding) -> bool:
        """Whether a finding is too bad to ship."""
        when = self.fails[finding.kind][finding.severity]
        return when is Fails.ALWAYS or (when is Fails.FIXABLE and bool(finding.fixed))


class ScanException(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Findings of one check that are accepted until a day: shell patterns for where, why, and who answers for it."""

    scanner: Text
    check: Text
    target: Text
    subject: Text
    reason: Text
    owner: Text
    """A role, such as `platform`: people leave."""
    expires: datetime.date
    """The last day on which it counts."""

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one that is accepted."""
        names = ("scanner", "check", "target", "subject")
        return all(fnmatchcase(str(getattr(finding, name)), getattr(self, name)) for name in names)

    def __str__(self) -> str:
        return f"{self.scanner} {self.check} on {self.target} {self.subject}"


@dataclass(frozen=True)
class Judgement:
    """Findings parted into those that fail, those that an exception accepts, and those below the thresholds."""

    failing: tuple[Finding, ...]
    accepted: tuple[tuple[Finding, ScanException], ...]
    tolerated: tuple[Finding, ...]
    problems: tuple[str, ...]
    """Why the exceptions themselves fail: past their day, or excusing nothing."""

    @property
    def passed(self) -> bool:
        """Nothing fails."""
        return not self.failing and not self.problems


def read_thresholds(path: Path) -> Thresholds:
    """Read the thresholds; `Failure` for one that is unknown or left out."""
    found = read(path, Thresholds)
    lacking = [
        f"{kind}.{severity}"
        for kind in Kind
        for severity in Severity
        if severity not in found.fails.get(kind, {})
    ]
    if lacking:
        raise Failure(f"{path} says nothing about {', '.join(lacking)}: give each always, fixable or never.")
    return found


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of policies/scan/exceptions.yaml: several checks may share a reason."""

    scanner: Text
    checks: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    target: Text
    subject: Text
    reason: Text
    owner: Text
    expires: datetime.date


def read_exceptions(path: Path) -> tuple[ScanException, ...]:
    """Read the exceptions, one for each check; `Failure` for an unknown or missing field."""
    return tuple(
        ScanException(one.scanner, check, one.target, one.subject, one.reason, one.owner, one.expires)
        for one in read(path, list[_Entry])
        for check in one.checks
    )


def read(path: Path, kind: type[_Content]) -> _Content:
    """A file of policies/scan; `Failure` for an unknown or missing field."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise Failure(f"{path} cannot be read: {error}.") from error


def judge(
    scans: Iterable[Scan], thresholds: Thresholds, exceptions: Sequence[ScanException], today: datetime.date
) -> Judgement:
    """Part the findings of the scans.

    An expired exception accepts nothing and is a problem of its own. So is one that excuses nothing although
    its scanner looked at its target.
    """
    scans = tuple(scans)
    current = [one for one in exceptions if one.expires >= today]
    failing: list[Finding] = []
    accepted: list[tuple[Finding, ScanException]] = []
    tolerated: list[Finding] = []
    for finding in sorted(found for scan in scans for found in scan.findings):
        covering = next((one for one in current if one.covers(finding)), None)
        if covering:
            accepted.append((finding, covering))
        elif thresholds.fail(finding):
            failing.append(finding)
        else:
            tolerated.append(finding)
    problems = [
        f"The exception for {one} ended on {one.expires}: {one.owner} has to judge it anew."
        for one in exceptions
        if one not in current
    ]
    needed = {one for _, one in accepted}
    problems += [
        f"The exception for {one} excuses nothing: remove it."
        for one in current
        if one not in needed
        and any(fnmatchcase(s.scanner, one.scanner) and fnmatchcase(s.target, one.target) for s in scans)
    ]
    return Judgement(tuple(failing), tuple(accepted), tuple(tolerated), tuple(problems))
