"""The bridge: validations, requests, decisions, its store as it sees it, and its processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.overview import ASKED, QUICK
from ci.monitoring.dashboards.panels import (
    BRIDGE,
    dashboard,
    graph,
    most,
    over,
    part,
    quantile,
    rate,
    row,
    under,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

VALIDATION = "lighthouse_bridge_validation_duration_seconds"
REQUEST = "lighthouse_bridge_http_request_duration_seconds"
COMMIT = "lighthouse_bridge_store_commit_duration_seconds"
LOOKUPS = "lighthouse_bridge_cache_lookups_total"


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard("bridge", "Bridge", "Validations, requests, decisions, the store and the processes.")
    _validations(made)
    _requests(made)
    _decisions(made)
    _store(made)
    _processes(made)
    return made


def _validations(made: Dashboard) -> None:
    row(
        made,
        "Validations",
        graph(
            "Validations by tier and decision",
            "Validations a second, by the tier that decided and what it decided.",
            units.RequestsPerSecond,
            {"{{tier}}: {{decision}}": rate(f"{VALIDATION}_count", BRIDGE, by="tier, decision")},
        ),
        graph(
            "Time of validations",
            "Those that neither experts nor people decide. Dashed: the threshold of ValidationSlow, for 99 of 100.",
            units.Seconds,
            {f"{share * 100:g} of 100": quantile(share, VALIDATION, QUICK) for share in (0.5, 0.95, 0.99)},
            limit=over("validationSlow"),
        ),
        graph(
            "Time of validations by tier",
            "99 of 100 validations that the tier decided take no longer.",
            units.Seconds,
            {"{{tier}}": quantile(0.99, VALIDATION, BRIDGE, by="tier")},
        ),
    )


def _requests(made: Dashboard) -> None:
    row(
        made,
        "Requests",
        graph(
            "Requests by route",
            "The ten busiest routes.",
            units.RequestsPerSecond,
            {"{{route}}": most(rate("lighthouse_bridge_http_requests_total", ASKED, by="route"), by="route")},
        ),
        graph(
            "Errors by route",
            "Requests a second that the bridge could not serve, by code.",
            units.RequestsPerSecond,
            {
                "{{route}}: {{code}}": rate(
                    "lighthouse_bridge_http_requests_total", f'{ASKED},code=~"5.."', by="route, code"
                )
            },
        ),
        graph(
            "Time of requests by route",
            "99 of 100 take no longer; the ten slowest routes.",
            units.Seconds,
            {"{{route}}": most(quantile(0.99, REQUEST, BRIDGE, by="route"), by="route")},
        ),
        graph(
            "Requests in flight",
            "Requests that each bridge is answering.",
            units.Short,
            {"{{pod}}": f"lighthouse_bridge_http_requests_in_flight{{{BRIDGE}}}"},
        ),
        graph(
            "Event streams",
            "Open streams of each bridge.",
            units.Short,
            {"{{pod}}": f"lighthouse_bridge_stream_subscribers{{{BRIDGE}}}"},
        ),
        graph(
            "Streams closed for slow readers",
            "In a quarter of an hour. Dashed: the threshold of BridgeReadersDropped.",
            units.Short,
            {"closed": f"sum(increase(lighthouse_bridge_stream_dropped_total{{{BRIDGE}}}[15m]))"},
            limit=over("bridgeReadersDropped"),
        ),
    )


def _decisions(made: Dashboard) -> None:
    row(
        made,
        "Decisions",
        graph(
            "Decisions from memory",
            "The share of look-ups that find a decision. Dashed: the threshold of CacheHitRateLow.",
            units.PercentUnit,
            {"found": part(LOOKUPS, 'result="hit"', BRIDGE)},
            limit=under("cacheHitRateLow"),
            top=1,
        ),
        graph(
            "Time of tiers",
            "99 of 100 looks of the tier at a call take no longer.",
            units.Seconds,
            {"{{tier}}": quantile(0.99, "lighthouse_bridge_tier_duration_seconds", BRIDGE, by="tier")},
        ),
        graph(
            "Failures of tiers",
            "Times a second that a tier failed or took too long.",
            units.OpsPerSecond,
            {"{{tier}}": rate("lighthouse_bridge_tier_failures_total", BRIDGE, by="tier")},
        ),
        graph(
            "Tiers left out",
            "Bridges that leave the tier out. Dashed: the threshold of BridgeTierLeftOut.",
            units.Short,
            {"{{tier}}": f"sum by (tier) (lighthouse_bridge_tier_circuit_open{{{BRIDGE}}})"},
            limit=over("bridgeTierLeftOut"),
        ),
        graph(
            "Rules in force",
            "Rules of each bridge; all have the same soon after a change.",
            units.Short,
            {"{{pod}}": f"lighthouse_bridge_rules{{{BRIDGE}}}"},
        ),
        graph(
            "Loads of changed rules",
            "In an hour, by result; after a failed one the former rules stay in force.",
            units.Short,
            {
                "{{result}}": f"sum by (result) (increase(lighthouse_bridge_rules_reloads_total{{{BRIDGE}}}[1h]))"
            },
        ),
    )


def _store(made: Dashboard) -> None:
    row(
        made,
        "Store",
        graph(
            "Time of commits",
            "From BEGIN to durable. Dashed: the threshold of BridgeCommitSlow, for 99 of 100.",
            units.Seconds,
            {f"{share * 100:g} of 100": quantile(share, COMMIT, BRIDGE) for share in (0.5, 0.99)},
            limit=over("bridgeCommitSlow"),
        ),
        graph(
            "Writes of a commit",
            "How many writes share a commit: many mean load.",
            units.Short,
            {
                "mean": f"{rate('lighthouse_bridge_store_commit_jobs_sum', BRIDGE)}"
                f" / {rate('lighthouse_bridge_store_commit_jobs_count', BRIDGE)}"
            },
        ),
        graph(
            "Failures of the store",
            "Reads and writes a second that it could not serve. Dashed: the threshold of BridgeStoreFailing.",
            units.OpsPerSecond,
            {"failed": rate("lighthouse_bridge_store_failures_total", BRIDGE)},
            limit=over("bridgeStoreFailing"),
        ),
        graph(
            "Events by type",
            "Events a second that were durably appended; the ten most frequent types.",
            units.EventsPerSecond,
            {
                "{{event_type}}": most(
                    rate("lighthouse_bridge_events_appended_total", BRIDGE, by="event_type"), by="event_type"
                )
            },
        ),
        graph(
            "Latest event",
            "Its sequence as each bridge knows it; a bridge that stays behind does not hear of events.",
            units.Number,
            {"{{pod}}": f"lighthouse_bridge_event_sequence{{{BRIDGE}}}"},
        ),
        graph(
            "Bridges without their store",
            "Bridges that refuse what they would have to remember. Dashed: the threshold of BridgeStoreNotReady.",
            units.Short,
            {"without": f"count(lighthouse_bridge_store_ready{{{BRIDGE}}} == 0) or vector(0)"},
            limit=over("bridgeStoreNotReady"),
        ),
    )


def _processes(made: Dashboard) -> None:
    row(
        made,
        "Processes",
        graph(
            "CPU",
            "Cores that each bridge uses.",
            units.Short,
            {"{{pod}}": rate("process_cpu_seconds_total", BRIDGE, by="pod")},
            span=6,
        ),
        graph(
            "Memory",
            "Resident memory of each bridge.",
            units.BytesIEC,
            {"{{pod}}": f"process_resident_memory_bytes{{{BRIDGE}}}"},
            span=6,
        ),
        graph(
            "Open files",
            "The share of the files and connections that it may open. Dashed: the threshold of BridgeFilesHigh.",
            units.PercentUnit,
            {"{{pod}}": f"process_open_fds{{{BRIDGE}}} / process_max_fds{{{BRIDGE}}}"},
            limit=over("bridgeFilesHigh"),
            span=6,
            top=1,
        ),
        graph(
            "Tasks",
            "Tasks of each bridge's event loop; a steady rise is a leak.",
            units.Short,
            {"{{pod}}": f"lighthouse_bridge_tasks{{{BRIDGE}}}"},
            span=6,
        ),
    )
