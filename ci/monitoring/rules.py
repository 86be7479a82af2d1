"""The chart's rules, held against runbooks, test cases, thresholds and what programs expose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ci.chart.site import OPERATED
from ci.monitoring.processes import processes
from ci.monitoring.queries import Series, departures, elsewhere, exposed, read
from ci.settings import NAMESPACE, RELEASE, ROOT
from lighthouse_harness.alerts import Alert, alerts, rule_groups
from lighthouse_harness.model import Render, Request
from lighthouse_harness.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CHART = ROOT / "charts" / "lighthouse"
ALERTS = CHART / "charts" / "monitoring" / "files" / "alerts"
REDIS_ALERTS = CHART / "charts" / "redis" / "files" / "alerts"
RUNBOOKS = ROOT / "docs" / "runbooks"
CASES = ROOT / "tests" / "chart" / "alerts"
METRICS = ROOT / "docs" / "metrics.md"
KINDS = ("fires", "is silent", "without series")
WATCHED: dict[str, Any] = {
    "monitoring": {"podMonitors": "always", "rules": "always", "certManager": True, "edgeMetrics": True},
    "edge": {"enabled": True, "hosts": ["lighthouse.example.com"]},
    "bridge": {"trustedProxies": ["10.244.0.0/16"]},
    "networkPolicies": {
        "edge": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "traefik"}}}],
        "apiServer": {"peers": [{"ipBlock": {"cidr": "172.18.0.2/32"}}]},
        "objectStore": {"peers": [{"ipBlock": {"cidr": "203.0.113.10/32"}}]},
    },
    "postgres": {
        "enabled": True,
        "backup": {"enabled": True, "destinationPath": "s3://backups/postgres"},
        "podMonitor": {"enabled": True},
    },
    "redis": {"enabled": True, "monitoring": {"podMonitor": "always", "rules": "always"}},
}
"""Values with which every rule is rendered."""


@dataclass(frozen=True)
class Rules:
    """Everything that is held against each other."""

    alerts: tuple[Alert, ...]
    records: Mapping[str, str]
    """Queries by the names under which they are recorded."""
    values: Mapping[str, Any]
    cases: tuple[str, ...]
    """Names of the test cases."""
    runbooks: frozenset[str]
    documented: str
    """The page that lists metrics."""

    def queries(self) -> Iterator[tuple[str, str]]:
        """Every rule's name with its query."""
        yield from self.records.items()
        for alert in self.alerts:
            yield alert.name, str(alert.rule["expr"])


def rendered(helm: Path) -> Render:
    """The chart with every rule; `helm` is the folder with the program."""
    os.environ["HELM"] = str(helm / "helm")
    request = Request(
        CHART,
        release=RELEASE,
        namespace=NAMESPACE,
        kubernetes="1.37.0",
        overrides=WATCHED,
        api_versions=OPERATED,
    )
    return Renderer().render(request)


def rules_of(render: Render) -> Rules:
    """The render's rules, with the repository's cases and pages."""
    records = {
        str(rule["record"]): str(rule["expr"])
        for group in rule_groups(render)
        for rule in group["rules"]
        if "record" in rule
    }
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*.yaml"))]
    return Rules(
        alerts(render),
        records,
        render.values,
        tuple(case["name"] for file in files for case in file["tests"]),
        frozenset(path.stem for path in RUNBOOKS.glob("*.md")),
        METRICS.read_text(encoding="utf-8"),
    )


def _thresholds(name: str, values: Mapping[str, Any]) -> set[float]:
    of_redis = REDIS_ALERTS / f"{name}.yaml"
    if of_redis.is_file():
        threshold = yaml.safe_load(of_redis.read_text(encoding="utf-8"))["threshold"]
        return {float(values["redis"]["monitoring"]["thresholds"][threshold])}
    own = values["monitoring"]["thresholds"].get(name[0].lower() + name[1:])
    return set() if own is None else {float(own)}


def known(rules: Rules) -> dict[str, Series]:
    """Every series that a rule may read: exposed by us, by others, or recorded."""
    recorded = {name: Series(name, frozenset({"release"}), {}) for name in rules.records}
    return elsewhere() | exposed() | recorded


def problems(rules: Rules) -> Iterator[str]:
    """Everything that is missing, as sentences."""
    names = {alert.name for alert in rules.alerts}
    if not names or not rules.records:
        yield "The chart renders no alert, or records nothing."
    for alert in rules.alerts:
        yield from _untold(alert, rules)
    for page in sorted(rules.runbooks - names):
        yield f"docs/runbooks/{page}.md is about no alert; remove it or write the alert."
    series = known(rules)
    for name, query in rules.queries():
        yield from (f"{name} {departure}." for departure in departures(query, series))
    for name in sorted(rules.records.keys() - read(query for _, query in rules.queries())):
        yield f"{name} is recorded and no rule reads it."
    for name in sorted(family_names() | elsewhere().keys()):
        if f"| `{name}` |" not in rules.documented:
            yield f"{name} is not in docs/metrics.md; run `make generate`."


def _untold(alert: Alert, rules: Rules) -> Iterator[str]:
    if alert.name not in rules.runbooks:
        yield f"{alert.name} has no runbook; write docs/runbooks/{alert.name}.md."
    for kind in KINDS:
        if not any(case.startswith(f"{alert.name} {kind}") for case in rules.cases):
            yield f"{alert.name} has no case '{alert.name} {kind} …' in tests/chart/alerts."
    compared = _thresholds(alert.name, rules.values) & set(alert.thresholds)
    if not compared:
        yield f"{alert.name} compares with no value; add one to thresholds and use it."


def family_names() -> frozenset[str]:
    """The names of all metrics of Lighthouse."""

    return frozenset(family.name for process in processes() for family in process.families)


def summary(rules: Rules) -> str:
    """The counts, in one line."""
    used = read(query for _, query in rules.queries()) - rules.records.keys()
    own = exposed()
    return (
        f"{len(rules.alerts)} alerts, each with a runbook, a threshold in values and cases ({len(rules.cases)} in all); "
        f"{len(rules.records)} records; {len(used)} series read, all exposed, {len(used & own.keys())} by Lighthouse; "
        f"{len(family_names())} metrics exposed, all documented"
    )
