"""The actions of a Go template, and the branches they make: a tokenizer, not a search for keywords.

Strings, raw strings, characters and comments are read as Go reads them, so `"{{ end }}"` in a string is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUOTED: Final = re.compile(
    r"""/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`|\}\}|["'`]""", re.DOTALL
)
_WORD: Final = re.compile(r"\{\{-?\s*([a-z]+)\b")


class TemplateError(ValueError):
    """The text is not a Go template: an action or a block is not closed."""


@dataclass(frozen=True, slots=True)
class Action:
    """One `{{ … }}`."""

    start: int
    end: int
    text: str

    @property
    def word(self) -> str:
        """Its first word: `if`, `end`, `include` …; empty for `{{ .Values.a }}` and comments."""
        found = _WORD.match(self.text)
        return found[1] if found else ""


@dataclass(frozen=True, slots=True)
class Branch:
    """A place that a render may or may not come through."""

    line: int
    condition: str
    """The action that leads there, such as `if .Values.persistence.enabled`."""
    taken: bool
    """False for the way past a block that has no `else`."""
    position: int
    """Where in the text a marker belongs."""
    marker: str
    """What to put around the marker's action; `%s` is the action."""

    @property
    def title(self) -> str:
        """For reports: line, condition, and whether it holds."""
        return f"{self.line}: {self.condition}{'' if self.taken else ' (does not hold)'}"


def actions(text: str) -> Iterator[Action]:
    """Every action of a template, in order. Raises `TemplateError` when one is not closed."""
    position = text.find("{{")
    while position >= 0:
        end = position + 2
        while True:
            found = _QUOTED.search(text, end)
            if found is None or found[0] in {'"', "'", "`"}:
                line = text.count("\n", 0, position) + 1
                raise TemplateError(f"The action that starts on line {line} is not closed.")
            end = found.end()
            if found[0] == "}}":
                break
        yield Action(position, end, text[position:end])
        position = text.find("{{", end)


def _condition(action: Action) -> str:
    return " ".join(action.text.strip("{}").strip("- \t\n").split())


def branches(text: str) -> tuple[Branch, ...]:
    """Every branch: each `if`, `else`, `with`, `range` and `define`, and the way past a block without `else`.

    Raises `TemplateError` for a block that is not closed, or an `end` that closes nothing.
    """
    found: list[Branch] = []
    blocks: list[tuple[Action, bool]] = []
    for action in actions(text):
        line = text.count("\n", 0, action.start) + 1
        if action.word in {"if", "with", "range", "define", "block"}:
            blocks.append((action, action.word in {"define", "block"}))
            found.append(Branch(line, _condition(action), True, action.end, "%s"))
        elif action.word == "else":
            if not blocks:
                raise TemplateError(f"The else on line {line} belongs to no block.")
            opened, closed = blocks[-1]
            last = re.fullmatch(r"\{\{-?\s*else\s*-?\}\}", action.text) is not None
            blocks[-1] = opened, closed or last
            found.append(
                Branch(
                    line,
                    _condition(action) if not last else f"else of {_condition(opened)}",
                    True,
                    action.end,
                    "%s",
                )
            )
        elif action.word == "end":
            if not blocks:
                raise TemplateError(f"The end on line {line} closes nothing.")
            opened, closed = blocks.pop()
            if not closed:
                marker = "{{- else }}%s" if action.text.startswith("{{-") else "{{ else }}%s"
                where = text.count("\n", 0, opened.start) + 1
                found.append(Branch(where, _condition(opened), False, action.start, marker))
    if blocks:
        line = text.count("\n", 0, blocks[-1][0].start) + 1
        raise TemplateError(f"The block that starts on line {line} is not closed.")
    return tuple(found)
