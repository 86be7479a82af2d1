"""The project's file system: in the agents' pods, and the drivers on the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import (
    AGENTS,
    DRIVER,
    Found,
    dashboard,
    graph,
    over,
    part,
    quantile,
    rate,
    row,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

REQUESTS = "lighthouse_fuse_requests_total"
REQUEST = "lighthouse_fuse_request_duration_seconds"
LOOKUPS = "lighthouse_fuse_cache_lookups_total"


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "fuse",
        "File systems",
        "The project's file system in the agents' pods, and the drivers on the nodes.",
        Found("lighthouse_agents_registered", "agents", "-agents"),
    )
    _mounts(made)
    _sidecars(made)
    _drivers(made)
    return made


def _mounts(made: Dashboard) -> None:
    row(
        made,
        "Mounts",
        graph(
            "Mounts that are silent",
            "Agents whose file system does not answer. Dashed: the threshold of FuseMountSilent.",
            units.Short,
            {"silent": f"count(lighthouse_agents_mount_answering{{{AGENTS}}} == 0) or vector(0)"},
            limit=over("fuseMountSilent"),
        ),
        graph(
            "Sidecars without the project",
            "Dashed: the threshold of FuseNotReady.",
            units.Short,
            {"not ready": f"count(lighthouse_fuse_ready{{{AGENTS}}} == 0) or vector(0)"},
            limit=over("fuseNotReady"),
        ),
        graph(
            "Time of reads",
            "Dashed: the threshold of FuseReadsSlow, for 99 of 100.",
            units.Seconds,
            {
                f"{share * 100:g} of 100": quantile(share, REQUEST, f'{AGENTS},op="read"')
                for share in (0.5, 0.95, 0.99)
            },
            limit=over("fuseReadsSlow"),
        ),
        graph(
            "Requests by operation",
            "Requests of the kernel a second.",
            units.RequestsPerSecond,
            {"{{op}}": rate(REQUESTS, AGENTS, by="op")},
        ),
        graph(
            "Time by operation",
            "99 of 100 take no longer.",
            units.Seconds,
            {"{{op}}": quantile(0.99, REQUEST, AGENTS, by="op")},
        ),
        graph(
            "Input/output errors",
            "The share of requests that fail so, by pod. Dashed: the threshold of FuseErrors.",
            units.PercentUnit,
            {"{{pod}}": part(REQUESTS, 'errno="EIO"', AGENTS, by="pod")},
            limit=over("fuseErrors"),
        ),
        graph(
            "Content read",
            "Bytes of files a second that were given to the kernel, by pod.",
            units.BytesPerSecondIEC,
            {"{{pod}}": rate("lighthouse_fuse_read_bytes_total", AGENTS, by="pod")},
            span=12,
        ),
        graph(
            "Time of probes",
            "95 of 100 probes of a mount by its agent take no longer.",
            units.Seconds,
            {"{{pod}}": quantile(0.95, "lighthouse_agents_mount_probe_seconds", AGENTS, by="pod")},
            span=12,
        ),
    )


def _sidecars(made: Dashboard) -> None:
    row(
        made,
        "Sidecars",
        graph(
            "Content found in the cache",
            "The share of look-ups.",
            units.PercentUnit,
            {"{{cache}}": part(LOOKUPS, 'result="hit"', AGENTS, by="cache")},
            top=1,
        ),
        graph(
            "Size of the cache",
            "Bytes of content that each sidecar keeps.",
            units.BytesIEC,
            {"{{pod}}": f"lighthouse_fuse_cache_size_bytes{{{AGENTS}}}"},
        ),
        graph(
            "Requests that wait for the bridge",
            "Of each sidecar.",
            units.Short,
            {"{{pod}}": f"lighthouse_fuse_requests_in_flight{{{AGENTS}}}"},
        ),
        graph(
            "Time of requests to the bridge",
            "95 of 100 take no longer, by what is asked for.",
            units.Seconds,
            {
                "{{route}}": quantile(
                    0.95, "lighthouse_fuse_bridge_request_duration_seconds", AGENTS, by="route"
                )
            },
        ),
        graph(
            "Since the last word of the event stream",
            "How old what a sidecar knows may be; of one that has heard none yet there is no line.",
            units.Seconds,
            {"{{pod}}": f"time() - (lighthouse_fuse_last_event_timestamp_seconds{{{AGENTS}}} > 0)"},
        ),
        graph(
            "Invalidations and resumed mounts",
            "Cache entries a second that the kernel was told to forget, and mounts that a new daemon took over.",
            units.OpsPerSecond,
            {
                "{{kind}}": rate("lighthouse_fuse_invalidations_total", AGENTS, by="kind"),
                "resumed": rate("lighthouse_fuse_resumes_total", AGENTS),
            },
        ),
    )


def _drivers(made: Dashboard) -> None:
    row(
        made,
        "Drivers",
        graph(
            "Mounts by state",
            "Of all nodes.",
            units.Short,
            {"{{state}}": f"sum by (state) (lighthouse_csi_mounts{{{DRIVER}}})"},
        ),
        graph(
            "Mounts without a sidecar",
            "Of each node. Dashed: the threshold of FuseMountsOrphaned.",
            units.Short,
            {"{{pod}}": f'lighthouse_csi_mounts{{{DRIVER},state="orphaned"}}'},
            limit=over("fuseMountsOrphaned"),
        ),
        graph(
            "File systems ended by drivers",
            "In half an hour. Dashed: the threshold of FuseConnectionsAborted.",
            units.Short,
            {"{{pod}}": f"sum by (pod) (increase(lighthouse_csi_connection_aborts_total{{{DRIVER}}}[30m]))"},
            limit=over("fuseConnectionsAborted"),
        ),
        graph(
            "Refused calls of kubelet",
            "In a quarter of an hour, by driver and method. Dashed: the threshold of FuseDriverErrors.",
            units.Short,
            {
                "{{pod}}: {{method}}": "sum by (pod, method) "
                f'(increase(lighthouse_csi_operations_total{{{DRIVER},code!="OK"}}[15m]))'
            },
            limit=over("fuseDriverErrors"),
        ),
        graph(
            "Time of calls of kubelet",
            "95 of 100 take no longer, by method.",
            units.Seconds,
            {"{{method}}": quantile(0.95, "lighthouse_csi_operation_duration_seconds", DRIVER, by="method")},
        ),
        graph(
            "Requests of the kernel that wait",
            "All mounts of a node together.",
            units.Short,
            {"{{pod}}": f"lighthouse_csi_connection_waiting_requests{{{DRIVER}}}"},
        ),
    )
