"""Alerts compare with what the values say, and every departure is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lighthouse_harness.alerts import alert_thresholds, alerts
from lighthouse_harness.editing import with_value
from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import MISSING, EmptySelectionError, Render, Request, freeze

RULES = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: shop}
spec:
  groups:
    - name: shop
      rules:
        - {record: shop:errors, expr: sum(errors)}
        - alert: Slow
          expr: 'histogram_quantile(0.99, sum by (le) (rate(seconds_bucket{job="a > 7"}[5m]))) > 0.25'
          labels: {severity: page}
          annotations: {summary: slow, runbook_url: docs/slow}
        - alert: FewHits
          expr: hits / (hits + misses) < bool 9.5e-1
          labels: {severity: ticket}
          annotations: {summary: few, runbook_url: docs/few}
"""
TABLE = {"Slow": "alerts.slow.seconds", "FewHits": "alerts.hits"}
RULE = "PrometheusRule/shop/shop spec.groups[0].rules"


@pytest.fixture(name="render")
def _render() -> Render:
    values = freeze({"alerts": {"slow": {"seconds": 0.25}, "hits": 0.95}})
    return Render(Request(Path("shop")), read_objects(RULES, "shop"), values)


def test_thresholds_are_read_from_expressions_not_from_selectors(render: Render) -> None:
    assert {alert.name: alert.thresholds for alert in alerts(render)} == {"Slow": (0.25,), "FewHits": (0.95,)}


def test_alerts_that_follow_their_values_pass(render: Render) -> None:
    assert alert_thresholds(render, TABLE).ok


@pytest.mark.parametrize(
    ("check", "address", "value"),
    [
        ("alert/threshold", f"{RULE}[1].expr", "p99 > 0.2"),
        ("alert/threshold", f"{RULE}[2].expr", "hits / all"),
        ("alert/told", f"{RULE}[1].annotations.runbook_url", MISSING),
        ("alert/told", f"{RULE}[2].labels.severity", MISSING),
        ("alert/table", f"{RULE}[1].alert", "Slower"),
        ("alert/missing", f"{RULE}[1].alert", "Slower"),
    ],
)
def test_each_departure_is_found(render: Render, check: str, address: str, value: Any) -> None:
    found = {
        finding.check for finding in alert_thresholds(with_value(render, address, value), TABLE).findings
    }
    assert check in found


def test_a_value_that_is_no_number_is_found(render: Render) -> None:
    findings = alert_thresholds(render, TABLE | {"Slow": "alerts.slow"}).findings
    assert [finding.check for finding in findings] == ["alert/value"]


def test_a_render_without_alerts_is_not_a_pass(render: Render) -> None:
    with pytest.raises(EmptySelectionError):
        alert_thresholds(render.with_objects([]), TABLE)
