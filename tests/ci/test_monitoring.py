"""The check of alerts: what is missing anywhere is named, and the repository itself lacks nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry, Counter

from ci import toolchain
from ci.console import Steps
from ci.monitoring import boards
from ci.monitoring import rules as chart_rules
from ci.monitoring.__main__ import main
from ci.monitoring.dashboards import documents
from ci.monitoring.families import registered
from ci.monitoring.processes import processes
from ci.monitoring.queries import departures, elsewhere, exposed, selected
from lighthouse_bridge import metrics as bridge_metrics
from lighthouse_fuse_csi.fuse_metrics import Times
from lighthouse_harness.alerts import Alert

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.monitoring.rules import Rules


@pytest.fixture(name="rules", scope="module")
def _rules() -> Rules:
    return chart_rules.rules_of(chart_rules.rendered(toolchain.helm_and_kubectl(Steps(quiet=True))))


def changed(rules: Rules, name: str, **fields: Any) -> Rules:
    """The same rules with one alert changed."""
    found = [alert for alert in rules.alerts if alert.name == name]
    assert len(found) == 1
    return replace(
        rules,
        alerts=tuple(
            Alert(alert.object, alert.path, {**alert.rule, **fields}) if alert.name == name else alert
            for alert in rules.alerts
        ),
    )


def test_nothing_is_missing_and_the_counts_are_a_line_each(rules: Rules) -> None:
    assert list(chart_rules.problems(rules)) == []
    done = CliRunner().invoke(main, ["check"])
    counts = (chart_rules.summary(rules), boards.summary(documents()))
    assert (done.exit_code, done.output) == (0, "".join(f"{line}\n" for line in counts))
    assert f"{len(rules.alerts)} alerts" in done.output
    assert len(rules.alerts) > 40


BREAKS: dict[str, tuple[Callable[[Rules], Rules], str]] = {
    "a runbook is gone": (
        lambda rules: replace(rules, runbooks=rules.runbooks - {"BridgeDown"}),
        "BridgeDown has no runbook",
    ),
    "a runbook is left over": (
        lambda rules: replace(rules, runbooks=rules.runbooks | {"BridgeGone"}),
        "docs/runbooks/BridgeGone.md is about no alert",
    ),
    "a case is gone": (
        lambda rules: replace(
            rules, cases=tuple(case for case in rules.cases if not case.startswith("FuseErrors is silent"))
        ),
        "FuseErrors has no case 'FuseErrors is silent",
    ),
    "a threshold is not that of the values": (
        lambda rules: changed(rules, "ValidationSlow", expr="lighthouse:validation_duration_seconds:p99_5m > 7"),
        "ValidationSlow compares with no value",
    ),
    "a metric is misspelt": (
        lambda rules: changed(rules, "BridgeDown", expr="absent(lighthouse_bridge_store_readi) < 1"),
        "BridgeDown reads lighthouse_bridge_store_readi, which nothing exposes",
    ),
    "a query is broken": (
        lambda rules: changed(rules, "BridgeDown", expr="count(lighthouse_bridge_store_ready < 1"),
        "BridgeDown is no PromQL",
    ),
    "a record is not read": (
        lambda rules: replace(rules, records={**rules.records, "lighthouse:x": "lighthouse_bridge_rules"}),
        "lighthouse:x is recorded and no rule reads it",
    ),
    "a metric is not documented": (
        lambda rules: replace(rules, documented=rules.documented.replace("`lighthouse_fuse_ready`", "")),
        "lighthouse_fuse_ready is not in docs/metrics.md",
    ),
    "a metric of others is not documented": (
        lambda rules: replace(rules, documented=rules.documented.replace("`cnpg_collector_up`", "")),
        "cnpg_collector_up is not in docs/metrics.md",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_missing_is_named(name: str, rules: Rules) -> None:
    broken, said = BREAKS[name]
    found = list(chart_rules.problems(broken(rules)))
    assert [problem for problem in found if problem.startswith(said)], found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ('sum(rate(lighthouse_bridge_http_requests_total{code="599"}[5m]))', "by code='599', which it never has"),
        ('lighthouse_bridge_http_requests_total{code=~"6.."}', "by code=~'6..', which it never has"),
        ('lighthouse_bridge_sessions{agent="x"}', "by the label agent, which it does not have"),
        ("rate(lighthouse_bridge_validation_duration_seconds[5m])", "which nothing exposes"),
        ("vector(1)", "reads nothing"),
        ('{pod="x"}', "reads series without a name, which nothing exposes"),
    ],
)  # fmt: skip
def test_queries_that_can_never_answer_are_found(query: str, said: str) -> None:
    (found,) = departures(query, exposed())
    assert said in found


@pytest.mark.parametrize(
    "query",
    [
        'lighthouse_bridge_http_requests_total{namespace="a",pod=~"b-.+",code=~"5..",route!~"/health.*"}',
        'histogram_quantile(0.9, sum by (le) (rate(lighthouse_bridge_store_commit_duration_seconds_bucket{le!="1"}[5m])))',
        'lighthouse_fuse_requests_total{errno=""} offset 1d',
        "max_over_time(lighthouse_bridge_sessions[1h:1m])",
    ],
)
def test_queries_of_what_is_exposed_pass(query: str) -> None:
    assert list(departures(query, exposed())) == []
    assert selected(query)


def test_a_metric_whose_labels_have_no_closed_set_of_values_is_refused() -> None:
    registry = CollectorRegistry()
    counter = Counter("lighthouse_x", "Of things.", ("kind",), registry=registry)
    with pytest.raises(ValueError, match="lighthouse_x_total has labels"):
        registered(registry, {})
    assert registered(registry, {"lighthouse_x_total": {"kind": ("a",)}})[0].labels == ("kind",)
    counter.labels("a")
    assert registered(registry, {})[0].labels == ("kind",)


def test_only_what_the_platform_is_has_labels_without_a_closed_set_of_values() -> None:
    found = {
        family.name
        for process in processes()
        for family in process.families
        if set(family.labels) != set(process.labels.get(family.name, ()))
    }
    assert found == {"python_info"}


@pytest.mark.parametrize(
    ("threshold", "last"),
    [
        ("validationSlow", bridge_metrics.validation_seconds._upper_bounds[-2]),
        ("bridgeCommitSlow", bridge_metrics.commit_seconds._upper_bounds[-2]),
        ("expertQueueOld", bridge_metrics.expert_wait_seconds._upper_bounds[-2]),
        ("fuseReadsSlow", float(Times().export()[0][-2][0])),
    ],
)
def test_a_threshold_for_a_quantile_is_below_the_histograms_last_bucket(threshold: str, last: float) -> None:
    """No quantile is above it: the alert could never fire."""
    schema = json.loads((chart_rules.CHART / "charts" / "monitoring" / "values.schema.json").read_text())
    assert schema["properties"]["thresholds"]["properties"][threshold]["maximum"] < last


def test_what_others_expose_is_read_by_rules_or_dashboards(rules: Rules) -> None:
    """A list that grows beyond its use would excuse misspelt names."""
    shown = [boards.given(query) for panel in boards.panels(documents()) for query in panel.queries]
    asked = [*shown, *(query for _, query in rules.queries())]
    used = {selector.name for query in asked for selector in selected(query)}
    assert sorted(elsewhere().keys() - used) == []
    assert elsewhere().keys() & exposed().keys() == set()


def test_each_alert_has_a_file_of_its_own(rules: Rules) -> None:
    files = [*chart_rules.ALERTS.glob("*.yaml"), *chart_rules.REDIS_ALERTS.glob("*.yaml")]
    assert sorted(path.stem for path in files) == sorted(alert.name for alert in rules.alerts)
