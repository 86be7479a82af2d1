"""Alert rules: thresholds that are what the values say, and what a person who is woken needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .documents import MISSING, Document, resolve
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .model import Object, Render

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_SELECTOR: Final = re.compile(r"\{[^{}]*\}|\[[^\[\]]*\]")
_COMPARED: Final = re.compile(
    r"(?:>=|<=|==|!=|>|<)\s*(?:bool\s+)?\(?\s*(-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
)
_NEEDED: Final = ("labels.severity", "annotations.summary", "annotations.runbook_url")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule, with its place."""

    object: Object
    path: str
    rule: Document

    @property
    def name(self) -> str:
        return str(self.rule["alert"])

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The numbers that its expression compares with; text in quotes, selectors and ranges is none."""
        text = _SELECTOR.sub("", _QUOTED.sub("", str(self.rule.get("expr", ""))))
        return tuple(float(number) for number in _COMPARED.findall(text))


def alerts(render: Render) -> tuple[Alert, ...]:
    """Every alerting rule of every PrometheusRule."""
    return tuple(
        Alert(item, f"spec.groups[{place}].rules[{index}]", rule)
        for item in render.select("PrometheusRule", may_be_empty=True)
        for place, group in enumerate(item.at("spec.groups") or ())
        for index, rule in enumerate(group.get("rules") or ())
        if "alert" in rule
    )


def rule_groups(render: Render) -> tuple[Document, ...]:
    """Every group of every PrometheusRule, with what is recorded and what alerts, in the order of evaluation."""
    return tuple(
        group
        for item in render.select("PrometheusRule", may_be_empty=True)
        for group in item.at("spec.groups") or ()
    )


def _problems(alert: Alert, render: Render, table: Mapping[str, str]) -> Iterator[Finding]:
    for path in _NEEDED:
        if not resolve(alert.rule, path):
            yield Finding(
                "alert/told", alert.object.ref, f"{alert.path}.{path}", MISSING, "say it: somebody is woken"
            )
    place = f"{alert.path}.expr"
    if alert.name not in table:
        fix = f"add {alert.name} to the table of thresholds, with the value that sets it"
        yield Finding("alert/table", alert.object.ref, place, alert.name, fix)
        return
    wanted = resolve(render.values, table[alert.name])
    if wanted is MISSING or isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        fix = f"let the value {table[alert.name]} be a number; it is {wanted!r}"
        yield Finding("alert/value", alert.object.ref, place, alert.name, fix)
    elif float(wanted) not in alert.thresholds:
        fix = f"compare with {wanted}, which {table[alert.name]} says"
        yield Finding("alert/threshold", alert.object.ref, place, list(alert.thresholds), fix)


def alert_thresholds(render: Render, table: Mapping[str, str]) -> Verdict:
    """Whether each alert compares with the value that `table` names for it, by alert name and path of the value.

    Alerts of the table that the render lacks are findings too. Raises `EmptySelectionError` without any alert.
    """
    rendered = alerts(render)
    found: list[Any] = [finding for alert in rendered for finding in _problems(alert, render, table)]
    for name in sorted(table.keys() - {alert.name for alert in rendered}):
        fix = f"render it, or take {name} from the table"
        found.append(Finding("alert/missing", "PrometheusRule", "spec.groups", name, fix))
    return verdict("alert", rendered, found)
