"""What the rules say of a call, part by part, and what rules there are; for people who ask why. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .verdict import Decision

if TYPE_CHECKING:
    from .rules import RuleSet
    from .verdict import Verdict

_INSTEAD = {
    Decision.APPROVE: "It may run as it is.",
    Decision.REVIEW: "Let experts or a person decide it, or write it so that a rule approves every part.",
    Decision.BLOCK: "Nobody can approve it: take another way to the same end.",
}
_GUESSED = "It is like calls that are dangerous: write it plainly, or have a person approve it."


class ExplainedPart(msgspec.Struct, frozen=True):
    """One part of a call: the rule that spoke about it, the layer it comes from, and what it said."""

    part: str
    decision: str
    risk_level: str
    rule: str
    layer: str
    reason: str


class Explanation(msgspec.Struct, frozen=True):
    """Why a call is decided as it is; `tier` names who decides it: policy, pattern, or review
    for others; `layer` where the rule comes from."""

    tool_name: str
    decision: str
    risk_level: str
    tier: str
    rule: str
    layer: str
    rules_version: str
    reason: str
    instead: str
    parts: list[ExplainedPart]


class RuleEntry(msgspec.Struct, frozen=True):
    """One rule; `about` names the programs or tools it speaks about, `layer` where it comes from."""

    id: str
    layer: str
    kind: str
    about: list[str]
    decision: str
    risk_level: str
    reason: str


def explain(tool_name: str, verdict: Verdict, version: str) -> Explanation:
    """The explanation of a verdict of the rules of that version."""
    return Explanation(
        tool_name=tool_name,
        decision=verdict.decision.label,
        risk_level=verdict.risk.label,
        tier="review" if verdict.decision is Decision.REVIEW else verdict.tier,
        rule=verdict.rule,
        layer=verdict.layer,
        rules_version=version,
        reason=verdict.reason,
        instead=_GUESSED if verdict.tier == "pattern" else _INSTEAD[verdict.decision],
        parts=[
            ExplainedPart(
                finding.part,
                finding.decision.label,
                finding.risk.label,
                finding.rule,
                finding.layer or "built-in",
                finding.reason,
            )
            for finding in verdict.findings
        ],
    )


def list_rules(rules: RuleSet) -> list[RuleEntry]:
    """Every rule of a set, by id."""
    commands = {rule.id: rule for about in rules.rules.values() for rule in about}
    found = [
        RuleEntry(
            rule.id,
            rules.origin(rule.id),
            "command",
            [" ".join((name, *rule.subcommands[:1])) if rule.subcommands else name for name in rule.programs],
            rule.decision,
            rule.risk,
            rule.reason,
        )
        for rule in commands.values()
    ]
    found += [
        RuleEntry(
            one.id,
            rules.origin(one.id),
            "wrapper",
            list(one.programs),
            one.decision,
            one.risk,
            one.reason,
        )
        for one in {id(one): one for one in rules.wrappers.values()}.values()
    ]
    found += [
        RuleEntry(tool.id, rules.origin(tool.id), "tool", list(tool.tools), tool.access, "low", tool.reason)
        for tool in {id(tool): tool for tool in rules.tools.values()}.values()
    ]
    found += [
        RuleEntry(rule.id, rules.origin(rule.id), "content", [], rule.decision, rule.risk, rule.reason)
        for rule, _ in rules.contents
    ]
    return sorted(found, key=lambda entry: entry.id)
