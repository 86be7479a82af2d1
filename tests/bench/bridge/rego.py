"""The bridge's rules and calls as a policy server takes them: rules as data, calls parsed beforehand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.matching import (
    _judge_text,
    about,
    judge_copy,
    read_arguments,
    read_narrowing,
    read_search,
    split_subcommand,
)
from lighthouse_bridge.decisions.verdict import Decision

if TYPE_CHECKING:
    from lighthouse_bridge.decisions.locations import Use
    from lighthouse_bridge.decisions.place import Place
    from lighthouse_bridge.decisions.rules import CommandRule, RuleSet
    from lighthouse_bridge.decisions.syntax import Command, Word
    from lighthouse_bridge.decisions.verdict import Finding

_WORDS = {Decision.APPROVE: "approve", Decision.REVIEW: "review", Decision.BLOCK: "block"}
# What rules.rego knows; a rule that says more must not be translated as if it said less.
_KNOWN = {
    *(
        "id",
        "programs",
        "decision",
        "reason",
        "risk",
        "subcommands",
        "when",
        "allow",
        "deny",
        "values",
        "writes",
    ),
    *(
        "style",
        "operands",
        "patterns",
        "pattern",
        "pattern_options",
        "operand",
        "min_operands",
        "max_operands",
        "texts",
        "prefixes",
        "dynamic",
        "globs",
    ),
}
_KNOWN_WHEN = {"options", "operand", "piped", "bare", "pattern", "rooted", "without"}


def translate(rules: RuleSet) -> dict[str, Any]:
    """The command rules as the policy's data; raises ValueError for what the policy does not know."""
    found: dict[str, Any] = {}
    for rule in (rule for each in rules.rules.values() for rule in each):
        data = msgspec.to_builtins(rule)
        when = data["when"]
        unknown = {name for name, value in data.items() if value and name not in _KNOWN}
        unknown |= {f"when.{name}" for name, value in when.items() if value and name not in _KNOWN_WHEN}
        if unknown:
            raise ValueError(f"The rule {rule.id} uses {', '.join(sorted(unknown))}, which rules.rego lacks.")
        data["pattern"] = _expression(rule.pattern, dotall=True)
        data["operand"] = _expression(rule.operand, dotall=True)
        when["operand"] = _expression(rule.when.operand, dotall=False)
        when["pattern"] = _expression(rule.when.pattern, dotall=False)
        found[rule.id] = data
    return {"rules": found}


def _expression(pattern: str, *, dotall: bool) -> dict[str, str] | bool:
    """Python's expression for a whole text as one or two of Go's; False when there is none."""
    if not pattern:
        return False
    flag = "(?s)" if dotall else ""
    ahead, rest = _split_lookahead(_without_reference(pattern))
    if re.search(r"\(\?[=!<]", ahead + rest):
        raise ValueError(f"The expression {pattern!r} looks around where it cannot be translated.")
    found = {"is": f"{flag}^(?:{rest})$"}
    return {**found, "unless": f"{flag}^(?:{ahead})"} if ahead else found


def _without_reference(pattern: str) -> str:
    """A pattern that refers back to one of a few characters, as a choice between patterns without reference."""
    if not re.search(r"\\[1-9]", pattern):
        return pattern
    group = re.search(r"\(\[([^\]\\^]+)\]\)", pattern)
    if group is None or re.search(r"\\[2-9]", pattern):
        raise ValueError(f"The expression {pattern!r} refers back to what cannot be listed.")
    return "|".join(
        pattern.replace(group.group(), re.escape(letter)).replace("\\1", re.escape(letter))
        for letter in group.group(1)
    )


def _split_lookahead(pattern: str) -> tuple[str, str]:
    if not pattern.startswith("(?!"):
        return "", pattern
    depth = 0
    for position, letter in enumerate(pattern):
        if letter in "()" and pattern[position - 1 : position] != "\\":
            depth += 1 if letter == "(" else -1
        if depth == 0:
            return pattern[3:position], pattern[position + 1 :]
    raise ValueError(f"The expression {pattern!r} is not balanced.")


class Parser(Judge):
    """Does all of a judgement but the command rules, and notes the commands they are about."""

    def question(self, tool_name: str, tool_input: dict[str, Any]) -> dict[str, Any]:
        """The policy's input for a call."""
        self._commands: list[dict[str, Any]] = []
        verdict = self.decide(tool_name, tool_input)
        findings = [
            {"decision": _WORDS[finding.decision], "rule": finding.rule}
            for finding in verdict.findings
            if finding.rule != "nothing-to-judge"
        ]
        return {"findings": findings, "commands": self._commands}

    def _judge_program(self, program: str, command: Command, place: Place) -> list[Finding]:
        leading, words, folders, problem = split_subcommand(command, self._rules.programs.get(program))
        place = place.fork()
        entered = self._enter(folders, place)
        views: list[dict[str, Any]] = []
        numbers: dict[str, int] = {}
        paths: dict[str, dict[str, str]] = {}
        for rule in self._rules.rules.get(program, []):
            rest = about(rule, command, leading, words)
            if rest is not None:
                view = self._view(rule, rest, paths, place)
                if view not in views:
                    views.append(view)
                numbers[rule.id] = views.index(view)
        self._commands.append(
            {
                "about": numbers,
                "views": views,
                "paths": paths,
                "piped": command.piped,
                "problem": bool(problem),
            }
        )
        return entered

    def _view(
        self, rule: CommandRule, words: tuple[Word, ...], paths: dict[str, dict[str, str]], place: Place
    ) -> dict[str, Any]:
        arguments = read_arguments(rule, words)
        values = [
            (name, value, False) if isinstance(value, str) else (name, value.text, value.globbed)
            for name, value in arguments.values
        ]
        texts = [(word.text, word.globbed) for word in arguments.operands]
        for text, globbed in (*texts, *((text, globbed) for _, text, globbed in values)):
            uses: tuple[Use, ...] = ("read", "write", "enter")
            paths.setdefault(text, {}).update({use: self._worst(text, globbed, use, place) for use in uses})
        if rule.operands == "copy":
            copied = _most(judge_copy(arguments.operands, place))
            for word in arguments.operands:
                paths[word.text]["copy"] = copied
        searched, rooted = read_search(arguments, place)
        return {
            "searched": searched,
            "rooted": rooted,
            "options": arguments.options,
            "narrowing": read_narrowing(arguments),
            "values": [[name, text] for name, text, _ in values],
            "operands": [word.text for word in arguments.operands],
            "dynamic": [word.dynamic for word in arguments.operands],
            "uncertain_dynamic": any(word.dynamic for word in arguments.uncertain),
            "uncertain_globbed": any(not word.dynamic for word in arguments.uncertain),
        }

    def _worst(self, text: str, globbed: bool, use: Use, place: Place) -> str:
        return _most(_judge_text(text, globbed, use, place))


def _most(found: list[Finding | None]) -> str:
    decisions = [finding.decision for finding in found if finding is not None]
    return _WORDS[max(decisions, default=Decision.APPROVE)]
