"""Which experts are asked, and what their answers amount to. Pure.

At most three are asked, and a vote counts for the key its expert joined with. Approvals weigh their confidence; a
denial, or silence until the end, weighs fully, so that two who agree cannot outvote a third who objects modestly or
is kept from answering. A high risk needs everybody who was asked to approve, at least two of them of different types:
of five experts two may lie and any three asked still include one who does not.
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


class Candidate(msgspec.Struct, frozen=True):
    """An expert who could be asked; `load` counts what it has not answered yet, and `key_name` is that of the
    expert whose own key it joined with: those of the same name, or of none, cannot be told apart."""

    agent_id: str
    agent_type: str
    capabilities: frozenset[str]
    load: int
    key_name: str


class Vote(msgspec.Struct, frozen=True):
    """One expert's answer: approve, deny or abstain."""

    expert_id: str
    agent_type: str
    decision: str
    confidence: float
    key_name: str


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


def choose(candidates: list[Candidate], wanted: frozenset[str], requester: str, lot: str) -> list[Candidate]:
    """The experts to ask: those with a wanted capability, nobody judges itself, least busy first, different types
    and keys before equal ones. `lot` breaks ties, so that nobody can foresee or arrange who is asked."""
    able = [one for one in candidates if one.agent_id != requester and one.capabilities & wanted]
    able.sort(
        key=lambda one: (one.load, hashlib.sha256(f"{lot}:{one.agent_id}".encode()).digest()),
    )
    chosen: list[Candidate] = []
    for one in able:
        types, keys = {other.agent_type for other in chosen}, {other.key_name for other in chosen}
        if one.agent_type not in types and one.key_name not in keys:
            chosen.append(one)
    chosen += [one for one in able if one.key_name not in {other.key_name for other in chosen}]
    chosen += [one for one in able if one not in chosen]
    return chosen[:MAX_ASKED]


def settle(votes: list[Vote], asked: int, risk: Risk, *, closed: bool) -> Consensus | None:
    """What the answers amount to; None while those still missing could change it and time is left. `asked` counts
    those who can be told apart by their keys."""
    votes = _count_once(votes)
    missing = asked - len(votes)
    now = _conclude(votes, asked, risk)
    if closed or missing <= 0:
        return now
    for decision in ("approve", "deny", "abstain"):
        unseen = [Vote(f"?{n}", f"?{n}", decision, 1.0, f"?{n}") for n in range(missing)]
        if _conclude(votes + unseen, asked, risk).ruling is not now.ruling:
            return None
    return now


def _count_once(votes: list[Vote]) -> list[Vote]:
    """One vote for each key, the most cautious: whoever holds a key can make as many experts of it as it likes."""
    caution = {"deny": 0, "abstain": 1, "approve": 2}
    kept: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda vote: (caution[vote.decision], vote.confidence, vote.expert_id)):
        kept.setdefault(vote.key_name, vote)
    return [vote for vote in votes if kept[vote.key_name] is vote]


def _conclude(votes: list[Vote], asked: int, risk: Risk) -> Consensus:
    approvals = [vote for vote in votes if vote.decision == "approve"]
    denials = [vote for vote in votes if vote.decision == "deny"]
    if not approvals and not denials:
        return _none("no expert answered" if not votes else "every expert who answered abstained")
    if asked == 1:
        return _single((approvals + denials)[0], risk)
    if not approvals:
        return Consensus(Ruling.BLOCKED, _mean(denials), f"denied by {_names(denials)}")
    if is_high(risk):
        return _high(approvals, denials, asked)
    return _usual(approvals, denials, len(votes) - len(approvals) - len(denials), asked)


def _usual(approvals: list[Vote], denials: list[Vote], abstained: int, asked: int) -> Consensus:
    if len(approvals) + len(denials) < 2:
        return _none(f"only {_names(approvals)} answered of {asked} who were asked")
    silent = asked - len(approvals) - len(denials) - abstained
    weight = sum(vote.confidence for vote in approvals)
    share = weight / (weight + len(denials) + silent) if weight else 0.0
    if _mean(approvals) < LEAST_CONFIDENCE and not denials:
        return _none(f"{_names(approvals)} approved but guessed")
    if share >= THRESHOLD and _mean(approvals) >= LEAST_CONFIDENCE:
        return Consensus(Ruling.APPROVED, _mean(approvals), f"approved by {_names(approvals)}")
    if denials and 1 - share >= THRESHOLD:
        return Consensus(Ruling.BLOCKED, _mean(denials), f"denied by {_names(denials)}")
    if silent:
        return _none(f"{silent} of the {asked} who were asked stayed silent")
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
