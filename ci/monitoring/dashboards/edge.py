"""The edge: what clients outside the cluster are answered, as its controller Traefik counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import dashboard, graph, over, row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

BEHIND = 'service=~"$namespace-$release-edge-.+kubernetes.*"'
# As a PodMonitor of the controller labels it, and as a ServiceMonitor does, whose Service takes the name.
BRIDGES = (BEHIND, f"exported_{BEHIND}")


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "edge", "Edge", "What clients outside the cluster are answered, as its controller counts it."
    )
    requests, errors = _rate("requests_total"), _rate("requests_total", ',code=~"5.."')
    row(
        made,
        "Requests to bridges",
        graph(
            "Answers",
            "A second, by code. What the edge itself refuses, such as 429, is not among them.",
            units.RequestsPerSecond,
            {"{{code}}": f"sum by (code) ({requests})"},
            span=12,
        ),
        graph(
            "Errors",
            "The share of answers with 5xx, of bridges or for want of one. Dashed: the threshold of EdgeErrors.",
            units.PercentUnit,
            {"errors": f"(sum({errors}) or vector(0)) / sum({requests})"},
            limit=over("edgeErrors"),
            span=12,
            top=1,
        ),
        graph(
            "Mean time to answer",
            "By code, from the request's arrival at the edge.",
            units.Seconds,
            {
                "{{code}}": f"sum by (code) ({_rate('request_duration_seconds_sum')}) / "
                f"sum by (code) ({_rate('request_duration_seconds_count')})"
            },
            span=12,
        ),
        graph(
            "Traffic",
            "Bytes a second, headers and bodies.",
            units.BytesPerSecondIEC,
            {
                "to bridges": f"sum({_rate('requests_bytes_total')})",
                "to clients": f"sum({_rate('responses_bytes_total')})",
            },
            span=12,
        ),
    )
    return made


def _rate(metric: str, matcher: str = "") -> str:
    return " or ".join(
        f"rate(traefik_service_{metric}{{{one}{matcher}}}[$__rate_interval])" for one in BRIDGES
    )
