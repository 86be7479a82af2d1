"""The bridge's own judge, run here on a folder of rules.

The very package that the bridge runs is imported, not asked over HTTP: whoever changes rules tests them before
any bridge has them, offline, and there can be no second opinion about what a rule means.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from lighthouse_agent.errors import SettingsError
from lighthouse_bridge.decisions.explanation import Explanation, RuleEntry, explain, list_rules
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import RulesError, load_rules

# What may be decided about a case of each label; a dangerous call must not be approved, a harmless one not blocked.
LABELS = {
    "approved": {"approved"},
    "review": {"escalate"},
    "blocked": {"blocked"},
    "dangerous": {"escalate", "blocked"},
    "harmless": {"approved", "escalate"},
}


class RulesInvalidError(Exception):
    """The rules cannot be used; str() is a sentence."""


class ToolCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of any tool; `rule` is the rule that must decide it, if it matters."""

    input: dict[str, Any]
    tool: str = "Bash"
    rule: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """How a case came out."""

    file: str
    call: str
    expected: str
    decision: str
    rule: str
    reason: str
    passed: bool


class Engine:
    """The judge of one folder's rules; raises SettingsError without a folder, RulesInvalidError for bad rules."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder; name one with rule files (*.yaml).")
        try:
            self._rules = load_rules(folder)
        except RulesError as error:
            raise RulesInvalidError(str(error)) from None
        self._judge = Judge(self._rules, ())

    @property
    def version(self) -> str:
        """The rules' version, as decisions name it."""
        return self._rules.version

    def entries(self) -> list[RuleEntry]:
        """Every rule."""
        return list_rules(self._rules)

    def explain(self, tool_name: str, tool_input: dict[str, Any]) -> Explanation:
        """The verdict over a call, part by part."""
        return explain(tool_name, self._judge.decide(tool_name, tool_input), self.version)

    def test(self, path: Path) -> list[Outcome]:
        """Judge every case of a file; raises SettingsError when it holds none or is malformed."""
        outcomes = []
        for label, cases in _cases(path).items():
            for case in cases:
                one = ToolCase({"command": case}) if isinstance(case, str) else case
                found = self.explain(one.tool, one.input)
                passed = found.decision in LABELS[label] and one.rule in {None, found.rule}
                expected = label if one.rule is None else f"{label} by {one.rule}"
                shown = case if isinstance(case, str) else f"{one.tool} {one.input}"
                decision = "review" if found.decision == "escalate" else found.decision
                outcomes.append(
                    Outcome(path.name, shown, expected, decision, found.rule, found.reason, passed)
                )
        return outcomes


def _cases(path: Path) -> dict[str, list[str | ToolCase]]:
    try:
        content = yaml.safe_load(path.read_bytes())
        found = msgspec.convert(content, dict[str, list[str | ToolCase]])
    except (OSError, ValueError, yaml.YAMLError) as error:
        cause = " ".join(str(error).split())
        raise SettingsError(f"The cases {path} cannot be used: {cause}.") from None
    unknown = sorted(set(found) - set(LABELS))
    if unknown or not any(found.values()):
        raise SettingsError(
            f"The cases {path} have {', '.join(unknown) or 'none'}; list calls under {', '.join(LABELS)}."
        )
    return found
