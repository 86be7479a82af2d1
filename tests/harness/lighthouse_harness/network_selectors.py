"""Label selectors as the API server reads them: absent selects nothing, empty selects everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class RefusedManifestError(ValueError):
    """A manifest that the API server would refuse, so that no verdict about it would mean anything."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label key."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether `labels` meet the condition; `NotIn` is met by an absent key."""
        if self.operator == "Exists":
            return self.key in labels
        if self.operator == "DoesNotExist":
            return self.key not in labels
        is_in = labels.get(self.key) in self.values
        return is_in if self.operator == "In" else not is_in

    def __str__(self) -> str:
        if self.operator in ("Exists", "DoesNotExist"):
            return self.key if self.operator == "Exists" else f"!{self.key}"
        values = ",".join(sorted(self.values))
        if self.operator == "In" and len(self.values) == 1:
            return f"{self.key}={values}"
        return f"{self.key} {'in' if self.operator == 'In' else 'notin'} ({values})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of requirements; without any it selects everything."""

    requirements: frozenset[Requirement] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether `labels` meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ", ".join(sorted(map(str, self.requirements))) or "everything"


EVERYTHING = Selector()


def parse_selector(value: Mapping[str, Any] | None, where: str) -> Selector:
    """Read a `LabelSelector` found at `where`; None reads as the empty selector.

    Raises RefusedManifestError for what the API server refuses: unknown keys or
    operators, values where none may be.
    """
    value = value or {}
    if unknown := set(value) - {"matchLabels", "matchExpressions"}:
        raise RefusedManifestError(
            f"{where} has the unknown field {sorted(unknown)[0]!r}; use matchLabels or matchExpressions."
        )
    requirements = [
        Requirement(str(key), "In", frozenset([str(label)]))
        for key, label in (value.get("matchLabels") or {}).items()
    ]
    for index, expression in enumerate(value.get("matchExpressions") or ()):
        requirements.append(_parse_expression(expression, f"{where}.matchExpressions[{index}]"))
    return Selector(frozenset(requirements))


def _parse_expression(expression: Mapping[str, Any], where: str) -> Requirement:
    operator = expression.get("operator")
    values = frozenset(str(value) for value in expression.get("values") or ())
    if not expression.get("key") or operator not in OPERATORS:
        raise RefusedManifestError(
            f"{where} needs a key and one of the operators {', '.join(OPERATORS)}, not {operator!r}."
        )
    if (operator in ("In", "NotIn")) != bool(values):
        raise RefusedManifestError(
            f"{where} has {len(values)} values; In and NotIn need some, Exists and DoesNotExist none."
        )
    return Requirement(str(expression["key"]), str(operator), values)
