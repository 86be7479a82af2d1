"""Which experts are asked, and what their answers amount to. Pure.

At most three are asked. Approvals weigh their confidence, a denial weighs fully, so that two who agree cannot
outvote a third who objects modestly. A high risk needs everybody who was asked to approve, at least two of
them of different types: of five experts two may lie and any three asked still include one who does not.
"""

from __future__ import annotations

import hashlib
from enum import Enum

import msgspec

from .decisions.verdict import Risk

MAX_ASKED = 3
THRESHOLD = 0.7
# One expert alone decides only when sure, and no decision rests on experts who are guessing.
SINGLE_CONFIDENCE = 0.8
LEAST_CONFIDENCE = 0.5

_SHELL = frozenset(
    {
        "security_audit",
        "vulnerability_assessment",
        "code_review",
        "system_architecture",
        "devops",
        "infrastructure",
        "deployment",
    }
)
_FILES = frozenset(
    {
        "security_audit",
        "vulnerability_assessment",
        "code_review",
        "code_analysis",
        "quality_assurance",
        "system_architecture",
    }
)
_CAPABILITIES = {
    "Bash": _SHELL,
    **dict.fromkeys(("Write", "Edit", "MultiEdit", "NotebookEdit"), _FILES),
}


class Candidate(msgspec.Struct, frozen=True):
    """An expert who could be asked; `load` counts what it has not answered yet."""

    agent_id: str
    agent_type: str
    capabilities: frozenset[str]
    load: int


class Vote(msgspec.Struct, frozen=True):
    """One expert's answer: approve, deny or abstain."""

    expert_id: str
    agent_type: str
    decision: str
    confidence: float


class Ruling(Enum):
    """What answers amount to."""

    APPROVED = "approved"
    BLOCKED = "blocked"
    NONE = "none"


class Consensus(msgspec.Struct, frozen=True):
    """A ruling, how sure it is, and why in one sentence."""

    ruling: Ruling
    confidence: float
    reason: str


def is_high(risk: Risk) -> bool:
    """Whether a call of this risk needs two experts of different types."""
    return risk >= Risk.HIGH


def choose(candidates: list[Candidate], tool_name: str, requester: str, lot: str) -> list[Candidate]:
    """The experts to ask: able ones, nobody judges itself, least busy first, different types before equal
    ones. `lot` breaks ties, so that nobody can foresee or arrange who is asked."""
    wanted = _CAPABILITIES.get(tool_name, _SHELL | _FILES)
    able = [one for one in candidates if one.agent_id != requester and one.capabilities & wanted]
    able.sort(
        key=lambda one: (one.load, hashlib.sha256(f"{lot}:{one.agent_id}".encode()).digest()),
    )
    chosen: list[Candidate] = []
    for one in able:
        if one.agent_type not in {other.agent_type for other in chosen}:
            chosen.append(one)
    chosen += [one for one in able if one not in chosen]
    return chosen[:MAX_ASKED]


def settle(votes: list[Vote], asked: int, risk: Risk, *, closed: bool) -> Consensus | None:
    """What the answers amount to; None while those still missing could change it and time is left."""
    missing = asked - len(votes)
    now = _conclude(votes, asked, risk)
    if closed or missing <= 0:
        return now
    for decision in ("approve", "deny", "abstain"):
        unseen = [Vote(f"?{n}", f"?{n}", decision, 1.0) for n in range(missing)]
        if _conclude(votes + unseen, asked, risk).ruling is not now.ruling:
            return None
    return now


def _conclude(votes: list[Vote], asked: int, risk: Risk) -> Consensus:
    approvals = [vote for vote in votes if vote.decision == "approve"]
    denials = [vote for vote in votes if vote.decision == "deny"]
    if not approvals and not denials:
        return _none("no expert answered" if not votes else "every expert who answered abstained")
    if asked == 1:
        return _single((approvals + denials)[0], risk)
    if not approvals:
        return Consensus(Ruling.BLOCKED, _mean(denials), f"denied by {_names(denials)}")
    return _high(approvals, denials, asked) if is_high(risk) else _usual(approvals, denials, asked)


def _usual(approvals: list[Vote], denials: list[Vote], asked: int) -> Consensus:
    if len(approvals) + len(denials) < 2:
        return _none(f"only {_names(approvals)} answered of {asked} who were asked")
    weight = sum(vote.confidence for vote in approvals)
    share = weight / (weight + len(denials)) if weight else 0.0
    if _mean(approvals) < LEAST_CONFIDENCE and not denials:
        return _none(f"{_names(approvals)} approved but guessed")
    if share >= THRESHOLD and _mean(approvals) >= LEAST_CONFIDENCE:
        return Consensus(Ruling.APPROVED, _mean(approvals), f"approved by {_names(approvals)}")
    if 1 - share >= THRESHOLD:
        return Consensus(Ruling.BLOCKED, _mean(denials), f"denied by {_names(denials)}")
    return _none(f"the experts do not agree: {share:.0%} of their weight approves, {THRESHOLD:.0%} is needed")


def _single(vote: Vote, risk: Risk) -> Consensus:
    if vote.decision == "deny":
        return Consensus(Ruling.BLOCKED, vote.confidence, f"denied by {vote.expert_id}")
    if is_high(risk):
        return _none("its risk needs two experts of different types, and only one was available")
    if vote.confidence < SINGLE_CONFIDENCE:
        return _none(f"{vote.expert_id} alone is not sure enough")
    return Consensus(Ruling.APPROVED, vote.confidence, f"approved by {vote.expert_id} alone")


def _high(approvals: list[Vote], denials: list[Vote], asked: int) -> Consensus:
    if denials:
        return _none(f"its risk needs every expert to approve, and {_names(denials)} did not")
    if len(approvals) < asked:
        return _none(f"its risk needs all {asked} experts who were asked, and {len(approvals)} approved")
    if len({vote.agent_type for vote in approvals}) < 2:
        return _none("its risk needs experts of different types")
    if min(vote.confidence for vote in approvals) < LEAST_CONFIDENCE:
        return _none("its risk needs experts who are sure")
    return Consensus(Ruling.APPROVED, _mean(approvals), f"approved by {_names(approvals)}")


def _none(reason: str) -> Consensus:
    return Consensus(Ruling.NONE, 0.0, reason)


def _mean(votes: list[Vote]) -> float:
    return round(sum(vote.confidence for vote in votes) / len(votes), 4)


def _names(votes: list[Vote]) -> str:
    return ", ".join(sorted(vote.expert_id for vote in votes))
