"""The edge: what clients outside the cluster are answered, as its controller Traefik counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import dashboard, graph, over, rate, row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

# Routers count what the edge answers itself too; services count nothing while there is no bridge to ask.
EDGE = 'router=~"(.+-)?$namespace-$release-edge-.+"'
METRIC = "traefik_router"
ERROR = 'code=~"5.."'


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "edge", "Edge", "What clients outside the cluster are answered, as its controller counts it."
    )
    requests = f"{METRIC}_requests_total"
    row(
        made,
        "Requests",
        graph(
            "Answers",
            "A second, by code: of bridges, and of the edge itself, such as 301, 413 and 429.",
            units.RequestsPerSecond,
            {"{{code}}": rate(requests, EDGE, by="code")},
            span=12,
        ),
        graph(
            "Errors",
            "The share of answers with 5xx, of bridges or for want of one. Dashed: the threshold of EdgeErrors.",
            units.PercentUnit,
            {"errors": f"({rate(requests, f'{EDGE},{ERROR}')} or vector(0)) / {rate(requests, EDGE)}"},
            limit=over("edgeErrors"),
            span=12,
            top=1,
        ),
        graph(
            "Mean time to answer",
            "By code, from the request's arrival at the edge to the answer's end; a stream counts when it ends.",
            units.Seconds,
            {
                "{{code}}": f"{rate(f'{METRIC}_request_duration_seconds_sum', EDGE, by='code')} / "
                f"{rate(f'{METRIC}_request_duration_seconds_count', EDGE, by='code')}"
            },
            span=12,
        ),
        graph(
            "Traffic",
            "Bytes of bodies a second; a stream counts when it ends.",
            units.BytesPerSecondIEC,
            {
                "asked": rate(f"{METRIC}_requests_bytes_total", EDGE),
                "answered": rate(f"{METRIC}_responses_bytes_total", EDGE),
            },
            span=12,
        ),
    )
    return made
