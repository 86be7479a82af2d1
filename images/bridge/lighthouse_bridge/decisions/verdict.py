"""What a judgement says."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Decision(IntEnum):
    """Ordered: of several, the highest counts."""

    APPROVE = 0
    REVIEW = 1
    BLOCK = 2

    @property
    def label(self) -> str:
        """The word of the API's metadata."""
        return ("approved", "escalate", "blocked")[self]

    @property
    def status(self) -> str:
        """The word of the hook's answer."""
        return ("approved", "review_required", "blocked")[self]


class Risk(IntEnum):
    """Ordered: of several, the highest counts."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3

    @property
    def label(self) -> str:
        """The word of the API."""
        return self.name.lower()


class Finding(msgspec.Struct, frozen=True):
    """The judgement of one part of a tool call."""

    decision: Decision
    risk: Risk
    rule: str
    part: str
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """The judgement of a whole tool call; `rule` and `reason` are of the part that decided it."""

    decision: Decision
    risk: Risk
    rule: str
    reason: str
    findings: tuple[Finding, ...]

    @property
    def confidence(self) -> float:
        """How sure a rule is: a review is what the rules do not know."""
        return 0.3 if self.decision is Decision.REVIEW else 0.95


def combine(findings: list[Finding]) -> Verdict:
    """The verdict over all parts: the most restrictive part decides; nothing judged means review."""
    if not findings:
        nothing = Finding(
            Decision.REVIEW, Risk.MEDIUM, "nothing-to-judge", "", "Nothing in this call could be judged."
        )
        findings = [nothing]
    worst = max(findings, key=lambda finding: (finding.decision, finding.risk))
    return Verdict(worst.decision, max(f.risk for f in findings), worst.rule, worst.reason, tuple(findings))
