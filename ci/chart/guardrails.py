"""The chart's tables of admission rules and of roles for people, as sections of the page on security."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from ci.chart.values import ValuesError

if TYPE_CHECKING:
    from pathlib import Path

POLICY_FIELDS = {"what", "namespaces", "resources", "when", "variables", "rules"}
RULE_FIELDS = {"refuses", "because"}
ROLE_FIELDS = {"what", "includes", "rules"}


def guardrails_section(path: Path) -> str:
    """Every rule, by policy; raises ValuesError naming the file and what is wrong in it."""
    lines = ["| What is judged | Where | Rule | Refused, because it |", "|---|---|---|---|"]
    for name, policy in yaml.safe_load(path.read_text())["policies"].items():
        if unknown := sorted(set(policy) - POLICY_FIELDS):
            raise ValuesError(
                f"{path}: the policy {name} has the unknown field {unknown[0]}; correct or drop it."
            )
        where = ", ".join(policy.get("namespaces", ())) or "the whole cluster"
        for rule, terms in policy["rules"].items():
            if set(terms) != RULE_FIELDS:
                raise ValuesError(f"{path}: the rule {name}.{rule} must have exactly refuses and because.")
            lines.append(f"| {policy['what']} | {where} | {rule} | {terms['because']} |")
    return "\n".join(lines)


def access_section(path: Path) -> str:
    """Every role with what it may do; raises ValuesError naming the file and what is wrong in it."""
    roles: dict[str, Any] = yaml.safe_load(path.read_text())["roles"]
    lines = ["| Role | What it does | Rights beyond looking |", "|---|---|---|"]
    for name, role in roles.items():
        if unknown := sorted(set(role) - ROLE_FIELDS):
            raise ValuesError(
                f"{path}: the role {name} has the unknown field {unknown[0]}; correct or drop it."
            )
        if role.get("includes", name) not in roles:
            raise ValuesError(
                f"{path}: the role {name} includes {role['includes']}, which is no role; name one."
            )
        rights = "; ".join(map(_right, role["rules"])) if role.get("includes") else "none"
        lines.append(f"| {name} | {role['what']} | {rights} |")
    return "\n".join(lines)


def _right(rule: dict[str, Any]) -> str:
    return f"{', '.join(rule['verbs'])} {', '.join(rule['resources'])}"
