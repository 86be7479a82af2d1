"""What a check says: findings, each with its place and its cure, gathered in a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .documents import thaw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class EmptySelectionError(AssertionError):
    """A check had nothing to look at. Passing would be vacuous, so it fails."""


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One thing that is wrong, where, and what would put it right."""

    check: str
    """The check's name, such as `resources/limits`."""
    object: str
    """`Kind/namespace/name`."""
    path: str
    observed: Any
    fix: str

    def __str__(self) -> str:
        place = f"{self.object} {self.path}".rstrip()
        return f"{self.check}: {place} is {self.shown}; {self.fix}"

    @property
    def shown(self) -> str:
        """The observed value, cut to one line."""
        text = repr(thaw(self.observed))
        return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"

    def _identity(self) -> tuple[str, str, str, str, str]:
        return self.check, self.object, self.path, repr(self.observed), self.fix

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Finding) and bool(self._identity() == other._identity())

    def __hash__(self) -> int:
        return hash(self._identity())


_SHOWN = 160
"""How many characters of a value a report shows."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check saw: how many things it examined, and every one that is wrong."""

    check: str
    examined: int
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and there was something to look at."""
        return self.examined > 0 and not self.findings

    def require(self) -> None:
        """Raise `AssertionError` with every finding, or `EmptySelectionError` if nothing was examined."""
        if not self.examined:
            raise EmptySelectionError(f"{self.check}: nothing was there to examine.")
        if self.findings:
            raise AssertionError(report(self.findings))


def verdict(check: str, examined: Sequence[Any], findings: Iterable[Finding]) -> Verdict:
    """Make a verdict; raise `EmptySelectionError` at once when `examined` is empty."""
    if not examined:
        raise EmptySelectionError(f"{check}: nothing was there to examine.")
    return Verdict(check, len(examined), tuple(findings))


def report(findings: Iterable[Finding]) -> str:
    """Findings as text, one a line, in a stable order, with a count in front."""
    lines = sorted(str(finding) for finding in findings)
    return "\n".join([f"{len(lines)} finding(s):", *(f"  - {line}" for line in lines)])
