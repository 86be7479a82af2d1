"""Judges a tool call: every part of it by the rules, and what no rule knows is reviewed."""

from __future__ import annotations

import posixpath
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from .addresses import judge_url
from .blocks import judge_block, judge_sequence
from .contents import TooLongError, search
from .locations import Locations
from .matching import Mismatch, about, apply_rule, split_subcommand
from .place import Place
from .rules import DECISIONS, RISKS
from .shell import parse_shell
from .syntax import Assignment, Block, Command, Opaque, Redirect, Word, walk
from .verdict import Decision, Finding, Risk, Verdict, combine
from .wrappers import UnwrapError, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .rules import RuleSet, ToolRule, Wrapper
    from .syntax import Part

MAX_NESTING = 8
_MAX_VALUE = 256
# What make runs or looks up in a variable it inherits.
_EXPANDED = re.compile(r"\$[({]")
_WRITING = frozenset({">", ">>", ">|", "&>", "&>>", "<>", ">&"})
_DIGITS = frozenset("0123456789-")
_MOVING = frozenset({"cd", "pushd", "popd"})
# Wrappers whose command may run in the shell itself, not in a process of its own.
_WITHIN = frozenset({"command", "builtin", "eval", "time"})


class Judge:
    """Judges tool calls by one set of rules; `roots` are further absolute names of the project's root, `links`
    its symbolic links by path. With a reason for `distrust`, nothing is approved."""

    def __init__(
        self,
        rules: RuleSet,
        roots: tuple[str, ...],
        links: Mapping[str, str] = MappingProxyType({}),
        distrust: str = "",
    ) -> None:
        self._rules = rules
        self._distrust = distrust
        self._locations = Locations(rules, roots, links)

    def decide(self, tool_name: str, tool_input: dict[str, Any]) -> Verdict:
        """The verdict over a tool call. Pure: the same rules and call give the same verdict."""
        tool = self._rules.tools.get(tool_name)
        if tool is None:
            shown = tool_name[:80]
            reason = f"No rule knows the tool {shown!r}; use one that is known, such as Read, Edit or Bash."
            return combine([_review("tool.unknown", shown, reason)])
        findings = self._judge_tool(tool, tool_input)
        if self._distrust:
            reason = f"{self._distrust}; have the operator load rules that are whole."
            findings = [*findings, _review("project.unusable", "", reason)]
        return combine([self._with_layer(finding) for finding in findings])

    def _with_layer(self, finding: Finding) -> Finding:
        if finding.layer:
            return finding
        return msgspec.structs.replace(finding, layer=self._rules.origin(finding.rule))

    def describe(self, tool_name: str, tool_input: dict[str, Any], verdict: Verdict) -> dict[str, Any]:
        """The call as policies outside of the rules see it: every command in it, however it is nested, and what the
        rules decided."""
        recorder = _Recorder(self)
        recorder.decide(tool_name, tool_input)
        return {
            "tool_name": tool_name,
            "tool_input": tool_input,
            "commands": recorder.commands,
            "decision": verdict.decision.label,
            "rule": verdict.rule,
            "risk_level": verdict.risk.label,
        }

    def _judge_tool(self, tool: ToolRule, tool_input: dict[str, Any]) -> list[Finding]:
        findings = [Finding(Decision.APPROVE, Risk.LOW, tool.id, tool.tools[0], tool.reason)]
        findings += [
            _review(tool.id, key, f"The tool's input has no text {key!r}; give it.")
            for key in tool.required
            if not isinstance(tool_input.get(key), str) or not tool_input[key]
        ]
        place = Place(self._locations)
        for key in tool.folders:
            findings += self._judge_folder(tool, key, tool_input.get(key), place)
        for key in tool.keys:
            value = tool_input.get(key)
            if value is None:
                continue
            if not isinstance(value, str):
                findings.append(_review(tool.id, key, f"The tool's {key!r} is not a text; give it as one."))
            elif tool.access == "shell":
                # The tool itself vouches for nothing: only its text can be approved.
                findings = findings[1:] + self._judge_script(value, place, 0)
            elif tool.access == "url":
                findings += judge_url(value)
            elif tool.access != "none":
                finding = place.judge(value, tool.access, globbed=True)
                findings += [finding] if finding else []
        for key in tool.contents:
            findings += self._judge_content(tool_input.get(key))
        return findings

    def _judge_folder(self, tool: ToolRule, key: str, value: Any, place: Place) -> list[Finding]:
        """Findings about the folder a tool works in, and enter it."""
        if value is None:
            return []
        if not isinstance(value, str):
            return [_review(tool.id, key, f"The tool's {key!r} is not a text; give it as one.")]
        found = place.judge(value, "enter")
        place.enter(Word(value, value))
        place.be(place.here)
        return [found] if found else []

    def _judge_content(self, value: Any) -> list[Finding]:
        """Findings about what would be written: a text, or a list of edits with a `new_string` each."""
        if isinstance(value, list):
            edits = [edit.get("new_string") if isinstance(edit, dict) else edit for edit in value]
            return [finding for edit in edits for finding in self._judge_content(edit)]
        if not isinstance(value, str):
            return []
        rules = self._rules.contents
        try:
            found = search([pattern for _, pattern in rules], value)
        except TooLongError:
            reason = "The text is too long to be searched in time; write it in smaller files."
            return [_review("content.too-long", value[:80], reason)]
        return [
            Finding(DECISIONS[rule.decision], RISKS[rule.risk], rule.id, part[:80], rule.reason)
            for (rule, _), part in zip(rules, found, strict=True)
            if part is not None
        ]

    def _judge_script(self, text: str, place: Place, depth: int) -> list[Finding]:
        if depth > MAX_NESTING:
            return [
                _review(
                    "shell.nested",
                    text[:200],
                    "The command is nested too deep to be judged; run its parts one by one.",
                )
            ]
        parts = parse_shell(text)
        if not parts:
            return [_review("shell.empty", text[:200], "The command is empty; name one.")]
        findings = judge_sequence(parts, place, lambda part, where: self._judge_part(part, where, depth))
        # What a shell writes is in its text, as a here-document or an argument of echo.
        return findings + (self._judge_content(text) if any(map(_writes, walk(parts))) else [])

    def _judge_part(self, part: Part, place: Place, depth: int) -> list[Finding]:
        if isinstance(part, Block):
            return judge_block(part, place, lambda inner, where: self._judge_part(inner, where, depth))
        if isinstance(part, Command):
            return self._judge_command(part, place, depth)
        if isinstance(part, Redirect):
            return self._judge_redirect(part, place)
        if isinstance(part, Assignment):
            return self._judge_assignment(part, place)
        return [_opaque(part)]

    def _judge_command(self, command: Command, place: Place, depth: int) -> list[Finding]:
        if depth > MAX_NESTING:
            return [
                _review(
                    "shell.nested",
                    command.raw,
                    "The command is nested too deep to be judged; run its parts one by one.",
                )
            ]
        findings = self._judge_variables((command.name, *command.arguments))
        name = command.name
        if name.dynamic or name.globbed:
            reason = (
                f"The command {command.raw[:80]!r} is only known when the shell runs; write its name plainly."
            )
            return [*findings, _review("shell.computed", command.raw, reason, Risk.HIGH)]
        program = self._program(name.text)
        wrapper = self._rules.wrappers.get(program)
        if wrapper is not None:
            return findings + self._judge_wrapper(wrapper, program, command, place, depth)
        findings += self._judge_program(program, command, place)
        if program in _MOVING:
            place.change(program, command)
        return findings

    def _program(self, name: str) -> str:
        folder, base = posixpath.split(name)
        if not folder:
            return base
        return base if folder.rstrip("/") in self._rules.trusted_folders else name

    def _judge_wrapper(
        self, wrapper: Wrapper, program: str, command: Command, place: Place, depth: int
    ) -> list[Finding]:
        own = Finding(
            DECISIONS[wrapper.decision], RISKS[wrapper.risk], wrapper.id, command.raw, wrapper.reason
        )
        try:
            inner = unwrap(wrapper, command)
        except UnwrapError as error:
            reason = f"What {program!r} would run is not clear, because {error}; run the command itself."
            return [own, _review(wrapper.id, command.raw, reason)]
        findings = [] if inner.remainder is command or own.decision is Decision.APPROVE else [own]
        within = place.fork()
        if inner.remainder is not None:
            findings += self._judge_program(program, inner.remainder, place)
        findings += self._enter([inner.folder] if inner.folder else [], within)
        for assignment in inner.assignments:
            findings += self._judge_assignment(assignment, within)
        for wrapped in inner.commands:
            findings += self._judge_command(wrapped, within, depth + 1)
        for script in inner.scripts:
            findings += self._judge_script(script, within, depth + 1)
        for wrapped in inner.elsewhere:
            nowhere = place.fork()
            nowhere.enter(None)
            findings += self._judge_command(wrapped, nowhere, depth + 1)
        if program in _WITHIN:
            place.be(place.here | within.here | within.failed)
        return findings

    def _enter(self, folders: Iterable[Word], place: Place) -> list[Finding]:
        """Findings about folders that a program is told to work in, one after another, and enter them."""
        findings: list[Finding] = []
        for folder in folders:
            if folder.dynamic or folder.globbed:
                reason = f"The folder {folder.raw[:80]!r} is only known when the shell runs; name it plainly."
                findings.append(_review("path.unknown-folder", folder.raw[:80], reason))
            found = None if folder.dynamic else place.judge(folder.text, "enter", globbed=folder.globbed)
            findings += [found] if found else []
            place.enter(folder)
        return findings

    def _judge_program(self, program: str, command: Command, place: Place) -> list[Finding]:
        rules = self._rules.rules.get(program, [])
        leading, words, folders, problem = split_subcommand(command, self._rules.programs.get(program))
        entered: list[Finding] = []
        if folders:
            place = place.fork()
            entered = self._enter(folders, place)
        findings: list[Finding] = []
        mismatch = problem
        for rule in rules:
            rest = about(rule, command, leading, words)
            if rest is None or (problem and rule.subcommands and rule.decision == "approve"):
                continue
            try:
                findings += apply_rule(rule, command, rest, place) or []
            except Mismatch as constraint:
                mismatch = mismatch or str(constraint)
        if findings:
            return entered + findings
        known = f"{program} {leading[0]}" if rules and leading and rules[0].subcommands else program
        shown = known.removeprefix("python:")[:80]
        if mismatch:
            return [
                *entered,
                _review(
                    "command.constraint",
                    command.raw,
                    f"{shown!r} needs review: {mismatch}; leave it out or wait for the review.",
                ),
            ]
        reason = f"No rule approves the command {shown!r}; use one that is known or wait for the review."
        return [*entered, _review("command.unknown", command.raw, reason)]

    def _judge_variables(self, words: tuple[Word, ...]) -> list[Finding]:
        return [
            _review(
                "variable.secret", name, f"The variable {name!r} may hold a secret; leave it out.", Risk.HIGH
            )
            for word in words
            for name in word.variables
            if self._rules.secret_variable.fullmatch(name)
        ]

    def _judge_redirect(self, redirect: Redirect, place: Place) -> list[Finding]:
        target = redirect.target
        if redirect.operator in {">&", "<&"} and set(target.text) <= _DIGITS and not target.dynamic:
            return []
        if target.dynamic or target.globbed:
            reason = (
                f"Where {redirect.raw[:80]!r} redirects is only known when the shell runs; name the file."
            )
            return [_review("redirect.computed", redirect.raw, reason)]
        write = redirect.operator in _WRITING
        finding = place.judge(target.text, "write" if write else "read")
        if finding is not None:
            return [finding]
        reason = f"The redirection {'to' if write else 'from'} {target.text[:80]!r} stays in allowed places."
        return [Finding(Decision.APPROVE, Risk.LOW, "redirect.allowed", redirect.raw, reason)]

    def _names_folders(self, value: Word | None, place: Place) -> bool:
        if value is None or value.dynamic or value.globbed:
            return False
        return all(place.is_inside(folder) for folder in value.text.split(":"))

    def _judge_assignment(self, assignment: Assignment, place: Place) -> list[Finding]:
        value = assignment.value
        findings = self._judge_variables((value,) if value else ())
        plain = value is not None and not value.dynamic and not value.globbed
        whole = f"{assignment.name}={value.text}" if value is not None and plain else ""
        if len(whole) <= _MAX_VALUE and self._rules.valued.fullmatch(whole):
            return findings
        if value is not None and _EXPANDED.search(value.text):
            reason = "The value may be expanded again, by make for one; write it without a dollar sign."
            return [*findings, _review("variable.expanded", assignment.raw, reason, Risk.HIGH)]
        if self._rules.settable.fullmatch(assignment.name):
            reason = f"The variable {assignment.name!r} may be set."
            return [
                *findings,
                Finding(Decision.APPROVE, Risk.LOW, "variable.settable", assignment.raw, reason),
            ]
        if self._rules.folder_variable.fullmatch(assignment.name) and self._names_folders(
            assignment.value, place
        ):
            return findings
        reason = f"Setting {assignment.name!r} can change what programs do; run the command without it."
        return [*findings, _review("variable.unknown", assignment.raw, reason)]


class _Recorder(Judge):
    """A judge that keeps the commands it judges. `known` is false for arguments that only the shell knows."""

    def __init__(self, judge: Judge) -> None:
        self.__dict__.update(judge.__dict__)
        self.commands: list[dict[str, Any]] = []

    def _judge_program(self, program: str, command: Command, place: Place) -> list[Finding]:
        self.commands.append(
            {
                "program": program,
                "arguments": [word.text for word in command.arguments],
                "known": not any(word.dynamic for word in command.arguments),
                "piped": command.piped,
            }
        )
        return super()._judge_program(program, command, place)


def _writes(part: Part) -> bool:
    """Whether a part writes a file that stays."""
    if isinstance(part, Redirect):
        return part.operator in _WRITING and not part.target.text.startswith("/dev/")
    return isinstance(part, Command) and part.name.text == "tee"


def _review(rule: str, part: str, reason: str, risk: Risk = Risk.MEDIUM) -> Finding:
    return Finding(Decision.REVIEW, risk, rule, part, reason)


def _opaque(part: Opaque) -> Finding:
    return _review(
        "shell.opaque",
        part.raw,
        f"The command needs review, because it {part.reason}; write it in simple commands.",
    )
