"""The bridge's own tiers, run here on folders of rules.

The very package that the bridge runs is imported, not asked over HTTP: whoever changes rules tests them before
any bridge has them, offline, and there can be no second opinion about what a rule means.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.source import read_links
from lighthouse_bridge.decisions.explanation import Explanation, RuleEntry, explain, list_rules
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.layers import PROJECT_FOLDER, join_layers, read_project
from lighthouse_bridge.decisions.patterns import ModelError, classify, read_model
from lighthouse_bridge.decisions.rules import Layer, RulesError, load_layer
from lighthouse_bridge.decisions.verdict import Decision, Verdict, combine

if TYPE_CHECKING:
    from lighthouse_bridge.decisions.rego import Policies

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
    layer: str
    reason: str
    passed: bool


class Sources(msgspec.Struct, frozen=True):
    """What a bridge would decide by: `rules` is the folder of the shipped layer, `project` the root of the project's
    tree, `rego` a folder of policies and `patterns` the classifier's file; all but the first may be absent."""

    rules: Path
    organisation: Path | None = None
    project: Path | None = None
    rego: Path | None = None
    patterns: Path | None = None


class Engine:
    """The tiers that decide at once, in the bridge's order; raises SettingsError for what is not there and
    RulesInvalidError for what a bridge would not take."""

    def __init__(self, sources: Sources) -> None:
        for folder in (sources.rules, sources.organisation, sources.project, sources.rego):
            if folder is not None and not folder.is_dir():
                raise SettingsError(f"{folder} is no folder; name one, with rule files (*.yaml) for rules.")
        try:
            self._policies = None if sources.rego is None else _policies(sources.rego)
            self._rules = join_layers(
                load_layer("shipped", sources.rules),
                None if sources.organisation is None else _organisation_layer(sources.organisation),
                None if sources.project is None else _project_layer(sources.project),
                self._policies.version if self._policies else "",
            )
            self._model = None if sources.patterns is None else read_model(sources.patterns)
        except (RulesError, ModelError) as error:
            raise RulesInvalidError(str(error)) from None
        # What a bridge judges of a path is where it leads.
        self._judge = Judge(self._rules, (), read_links(sources.project) if sources.project else {})

    @property
    def version(self) -> str:
        """The rules' version, as decisions name it."""
        return self._rules.version

    def entries(self) -> list[RuleEntry]:
        """Every rule."""
        return list_rules(self._rules)

    def explain(self, tool_name: str, tool_input: dict[str, Any]) -> Explanation:
        """The verdict over a call, part by part; raises RulesInvalidError when policies in Rego fail on it, which
        a bridge would refuse."""
        verdict = self._judge.decide(tool_name, tool_input)
        if self._policies and verdict.decision is not Decision.BLOCK:
            verdict = self._ask(self._policies, tool_name, tool_input, verdict)
        if self._model and verdict.decision is Decision.REVIEW:
            verdict = classify(self._model, tool_name, tool_input, verdict)
        return explain(tool_name, verdict, self.version)

    def _ask(
        self, policies: "Policies", tool_name: str, tool_input: dict[str, Any], verdict: Verdict
    ) -> Verdict:
        from lighthouse_bridge.decisions.rego import EngineError  # noqa: PLC0415 - as in _policies

        try:
            found = policies.ask(self._judge.describe(tool_name, tool_input, verdict))
        except EngineError as error:
            raise RulesInvalidError(f"A bridge would deny this call, because {error}.") from None
        return combine([*verdict.findings, *found]) if found else verdict

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
                    Outcome(
                        path.name, shown, expected, decision, found.rule, found.layer, found.reason, passed
                    )
                )
        return outcomes


def _policies(folder: Path) -> "Policies":
    try:
        from lighthouse_bridge.decisions.rego import Policies  # noqa: PLC0415 - most use needs no interpreter
    except ImportError:
        raise SettingsError(
            "Policies in Rego need the package regopy, which is not installed: run pip install '.[rego]' in a "
            "checkout, or leave --rego out."
        ) from None
    return Policies(folder)


def _organisation_layer(folder: Path) -> Layer:
    return load_layer("organisation", folder, may_be_empty=True)


def _project_layer(root: Path) -> Layer | None:
    """The rules of a tree, as the bridge takes them from it; None when it has none."""
    paths = sorted((root / PROJECT_FOLDER).rglob("*.yaml"))
    try:
        contents = {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}
    except OSError as error:
        raise SettingsError(f"The project's rules cannot be read: {error}.") from None
    return read_project(contents) if contents else None


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
