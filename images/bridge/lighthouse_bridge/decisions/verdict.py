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
    """The judgement of one part of a tool call; `layer` says where the rule comes from, if that is not known by
    its id."""

    decision: Decision
    risk: Risk
    rule: str
    part: str
    reason: str
    layer: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """The judgement of a whole tool call; `rule`, `layer` and `reason` are of the part that decided it, `tier` is
    policy or pattern, and `score` is what the classifier gave if it decided."""

    decision: Decision
    risk: Risk
    rule: str
    reason: str
    findings: tuple[Finding, ...]
    layer: str = "built-in"
    tier: str = "policy"
    score: float | None = None

    @property
    def confidence(self) -> float:
        """How sure it is: as the classifier says; a rule is, and a review is what the rules do not know."""
        if self.score is not None:
            return self.score
        return 0.3 if self.decision is Decision.REVIEW else 0.95


def combine(findings: list[Finding]) -> Verdict:
    """The verdict over all parts: the most restrictive part decides; nothing judged means review."""
    if not findings:
        nothing = Finding(
            Decision.REVIEW,
            Risk.MEDIUM,
            "nothing-to-judge",
            "",
            "Nothing in this call could be judged; name what you want to do.",
        )
        findings = [nothing]
    worst = max(findings, key=lambda finding: (finding.decision, finding.risk))
    risk = max(finding.risk for finding in findings)
    layer = worst.layer or "built-in"
    return Verdict(worst.decision, risk, worst.rule, worst.reason, tuple(findings), layer)
