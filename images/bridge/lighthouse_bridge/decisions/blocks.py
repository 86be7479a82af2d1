"""Parts that run together, each judged in the folders that those before it may have left the shell in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .verdict import Decision, Finding, Risk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .place import Place
    from .syntax import Block, Part

    Judged = Callable[[Part, Place], list[Finding]]


def judge_sequence(parts: Iterable[Part], place: Place, judge: Judged) -> list[Finding]:
    """Judge parts that run one after another, whether the one before succeeded or not."""
    findings: list[Finding] = []
    for part in parts:
        place.meet()
        findings += judge(part, place)
    return findings


def judge_block(block: Block, place: Place, judge: Judged) -> list[Finding]:
    """Judge the parts of a block."""
    if block.kind == "sequence":
        return judge_sequence(block.parts, place, judge)
    if block.kind == "subshell":
        return judge_sequence(block.parts, place.fork(), judge)
    if block.kind == "pipe":
        return _judge_pipe(block, place, judge)
    if block.kind in {"branch", "loop"}:
        return _judge_some(block, place, judge)
    if block.kind == "not":
        findings = judge_sequence(block.parts, place, judge)
        place.be(place.failed, place.here)
        return findings
    return _judge_list(block, place, judge)


def _judge_list(block: Block, place: Place, judge: Judged) -> list[Finding]:
    """The second runs if the first succeeded (and) or failed (or)."""
    first, *rest = block.parts
    findings = judge(first, place)
    for part in rest:
        here, failed = place.here, place.failed
        place.be(here if block.kind == "and" else failed)
        findings += judge(part, place)
        if block.kind == "and":
            place.failed |= failed
        else:
            place.be(here | place.here, place.failed)
    return findings


def _judge_pipe(block: Block, place: Place, judge: Judged) -> list[Finding]:
    findings: list[Finding] = []
    end = place.here
    for part in block.parts:
        inner = place.fork()
        findings += judge(part, inner)
        # Some shells run the last one themselves.
        end = place.here | inner.here | inner.failed
    place.be(end)
    return findings


def _judge_some(block: Block, place: Place, judge: Judged) -> list[Finding]:
    """Of branches nobody knows which runs, of a loop not how often."""
    findings: list[Finding] = []
    start = seen = place.here
    for part in block.parts:
        place.be(seen)
        findings += judge(part, place)
        seen |= place.here | place.failed
    place.be(seen)
    if block.kind == "loop" and not seen <= start:
        reason = "The folder changes from round to round of a loop; work in a subshell, as in (cd x && ls)."
        findings.append(Finding(Decision.REVIEW, Risk.MEDIUM, "shell.moving-loop", "", reason))
    return findings
