"""The dashboard to begin with: what was promised, what is done, and which parts are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import (
    AGENTS,
    BRIDGE,
    DRIVER,
    RECORDED,
    dashboard,
    graph,
    number,
    over,
    part,
    quantile,
    rate,
    row,
    under,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

QUICK = f'{BRIDGE},tier=~"memory|policy|pattern"'
ASKED = f'{BRIDGE},route!~"/health.*|/ready"'


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard("overview", "Overview", "What was promised, what is done, and which parts are there.")
    row(
        made,
        "Promises",
        number(
            "Validations, 99 of 100 within",
            "Time of validations that neither experts nor people decide. Red: above the threshold of ValidationSlow.",
            units.Seconds,
            f"{quantile(0.99, 'lighthouse_bridge_validation_duration_seconds', QUICK)} >= 0",
            limit=over("validationSlow"),
            span=6,
        ),
        number(
            "Decisions from memory",
            "The share of look-ups that find a decision. Red: below the threshold of CacheHitRateLow.",
            units.PercentUnit,
            part("lighthouse_bridge_cache_lookups_total", 'result="hit"', BRIDGE),
            limit=under("cacheHitRateLow"),
            span=6,
        ),
        number(
            "Budget of failures, last hour",
            "How many times faster than planned it is spent; 1 uses it up in 30 days. Red: above the threshold of "
            "AvailabilityBurnHour.",
            units.Short,
            f"max(lighthouse:http_errors:burn_rate1h{{{RECORDED}}} >= 0)",
            limit=over("availabilityBurnHour"),
            span=6,
        ),
        number(
            "Alerts now",
            "Alerts that fire, of the releases in this namespace.",
            units.Short,
            'count(ALERTS{alertstate="firing",release_namespace="$namespace"}) or vector(0)',
            span=6,
        ),
    )
    row(
        made,
        "Work",
        graph(
            "Validations by decision",
            "Validations a second, by what was decided.",
            units.RequestsPerSecond,
            {
                "{{decision}}": rate(
                    "lighthouse_bridge_validation_duration_seconds_count", BRIDGE, by="decision"
                )
            },
        ),
        graph(
            "Requests by code",
            "HTTP requests a second by the answer's code; probes are left out.",
            units.RequestsPerSecond,
            {"{{code}}": rate("lighthouse_bridge_http_requests_total", ASKED, by="code")},
        ),
        graph(
            "Alerts that fire",
            "Alerts of the releases in this namespace, by name and severity.",
            units.Short,
            {
                "{{alertname}} ({{severity}})": "count by (alertname, severity) "
                '(ALERTS{alertstate="firing",release_namespace="$namespace"})'
            },
        ),
        graph(
            "Validations that wait",
            "For experts or people. Dashed: the threshold of ExpertQueueLong.",
            units.Short,
            {"waiting": f"max(lighthouse_bridge_pending_validations{{{BRIDGE}}})"},
            limit=over("expertQueueLong"),
        ),
        graph(
            "Live sessions",
            "Sessions by role.",
            units.Short,
            {"{{role}}": f"max by (role) (lighthouse_bridge_sessions{{{BRIDGE}}})"},
        ),
        graph(
            "Events",
            "Events a second that were durably appended.",
            units.EventsPerSecond,
            {"appended": rate("lighthouse_bridge_events_appended_total", BRIDGE)},
        ),
    )
    row(
        made,
        "Parts",
        number(
            "Bridges with their store",
            "Bridges that accept writes. Red: fewer than the threshold of BridgeDown.",
            units.Short,
            f"sum(lighthouse_bridge_store_ready{{{BRIDGE}}})",
            limit=under("bridgeDown"),
        ),
        number(
            "Experts heard of",
            "In the last ten minutes. Red: fewer than the threshold of ExpertsMissing.",
            units.Short,
            f"max(lighthouse_bridge_experts{{{BRIDGE}}})",
            limit=under("expertsMissing"),
        ),
        number(
            "Agents registered",
            "Agents with a live session.",
            units.Short,
            f"sum(lighthouse_agents_registered{{{AGENTS}}})",
        ),
        number(
            "File systems that answer",
            "Agents in whose pods the project answers.",
            units.Short,
            f"sum(lighthouse_agents_mount_answering{{{AGENTS}}})",
        ),
        number(
            "Drivers",
            "Nodes whose CSI driver is seen. Red: fewer than the threshold of FuseDriverDown.",
            units.Short,
            f'count(lighthouse_csi_mounts{{{DRIVER},state="serving"}})',
            limit=under("fuseDriverDown"),
        ),
        number(
            "Mounts without a sidecar",
            "On all nodes together.",
            units.Short,
            f'sum(lighthouse_csi_mounts{{{DRIVER},state="orphaned"}})',
        ),
    )
    return made
