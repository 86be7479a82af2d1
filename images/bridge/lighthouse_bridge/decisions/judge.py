"""Judges a tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .verdict import Verdict, combine

if TYPE_CHECKING:
    from .rules import RuleSet


class Judge:
    """Judges tool calls by one set of rules."""

    def __init__(self, rules: RuleSet, roots: tuple[str, ...]) -> None:
        self.rules = rules
        self.roots = roots

    def decide(self, _tool_name: str, _tool_input: dict[str, Any]) -> Verdict:
        """The verdict; without a rule that decides, review."""
        return combine([])
