"""The reference judge: approves what its rules know, denies what they forbid, and abstains otherwise."""

import re
from pathlib import Path

import msgspec

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.judge import Case, Opinion, Part
from lighthouse_agent.settings import RunSettings

_RISKS = ("low", "medium", "high", "critical")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule; `part` is a regular expression for the whole text of a part (deny: anywhere in a part
    or in the call).

    An approving rule with `tracked` needs every path among the part's words to be a file of the project.
    """

    id: str
    decision: str
    part: str
    reason: str
    confidence: float = 0.9
    risk: str = "medium"
    tools: tuple[str, ...] = ("Bash",)
    types: tuple[str, ...] = ()
    tracked: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


class RuleJudge:
    """Judges by rules: one denial denies, and approving needs a rule for each part the bridge left open."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self._rules = [(rule, re.compile(rule.part, re.DOTALL)) for rule in rules]

    def judge(self, case: Case) -> Opinion:
        """See Judge."""
        open_parts = [part for part in case.parts if part.decision != "approved"]
        # A wrapper such as xargs is no part of what it runs, so the whole call is looked at too.
        texts = [part.part for part in case.parts]
        texts += [value for value in case.tool_input.values() if isinstance(value, str)]
        for text in texts:
            for rule, pattern in self._of("deny", case):
                if pattern.search(text):
                    return Opinion("deny", rule.confidence, f"{rule.reason} ({rule.id})")
        used = [self._approving(case, part) for part in open_parts]
        if not used or any(rule is None for rule in used):
            return Opinion("abstain", 0.0, "No rule of this expert knows all of it.")
        weakest = min((rule for rule in used if rule is not None), key=lambda rule: rule.confidence)
        return Opinion("approve", weakest.confidence, f"{weakest.reason} ({weakest.id})")

    def _approving(self, case: Case, part: Part) -> Rule | None:
        for rule, pattern in self._of("approve", case):
            known = not rule.tracked or _tracked(part.part, case)
            if known and pattern.fullmatch(part.part) and _risk(part.risk_level) <= _risk(rule.risk):
                return rule
        return None

    def _of(self, decision: str, case: Case) -> list[tuple[Rule, re.Pattern[str]]]:
        return [
            (rule, pattern)
            for rule, pattern in self._rules
            if rule.decision == decision
            and case.tool_name in rule.tools
            and (not rule.types or case.agent_type in rule.types)
        ]


def make_judge(settings: RunSettings) -> RuleJudge:
    """The judge of the rule file that the settings name; raises SettingsError."""
    return RuleJudge(load_rules(settings.rules))


def load_rules(path: Path) -> tuple[Rule, ...]:
    """The rules of a TOML file; raises SettingsError naming the first fault."""
    try:
        rules = msgspec.toml.decode(path.read_bytes(), type=_File).rule
        for rule in rules:
            _check(rule)
    except (OSError, ValueError, re.error) as error:
        raise SettingsError(
            f"Expert rules {path} cannot be used ({error}); correct the file or name another with "
            "LIGHTHOUSE_EXPERT_RULES."
        ) from None
    return rules


def _check(rule: Rule) -> None:
    re.compile(rule.part)
    if rule.decision not in {"approve", "deny"} or rule.risk not in _RISKS or not 0 <= rule.confidence <= 1:
        raise ValueError(f"rule {rule.id!r} has an unknown decision or risk or a confidence beyond 0 to 1")


def _risk(name: str) -> int:
    return _RISKS.index(name) if name in _RISKS else len(_RISKS)


def _tracked(text: str, case: Case) -> bool:
    paths = [word.removeprefix("./") for word in text.split() if "/" in word or word in case.files]
    return bool(paths) and all(path in case.files for path in paths)
