"""Capacity: memory, CPU, restarts and volumes, as the cluster itself measures them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import OURS, dashboard, graph, over, row

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

EACH = "namespace, pod, container"
INSIDE = f'{OURS},container!=""'
VOLUMES = 'namespace="$namespace",persistentvolumeclaim=~"(data-)?$release-.+"'
# kube-state-metrics tells of sidecars apart, as init containers.
LIMITS = ("kube_pod_container_resource_limits", "kube_pod_init_container_resource_limits")
RESTARTS = (
    "kube_pod_container_status_restarts_total",
    "kube_pod_init_container_status_restarts_total",
)


def _share(used: str, resource: str) -> str:
    limits = " or ".join(f'{limit}{{{OURS},resource="{resource}"}}' for limit in LIMITS)
    return f"{used} / on ({EACH}) max by ({EACH}) ({limits})"


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "capacity", "Capacity", "Memory, CPU, restarts and volumes, as the cluster measures them."
    )
    memory = f"max by ({EACH}) (container_memory_working_set_bytes{{{INSIDE}}})"
    # Of a container that two jobs read, kubelet's /metrics/resource beside cAdvisor, a sum is twice what it uses.
    cpu = f"max by ({EACH}) (rate(container_cpu_usage_seconds_total{{{INSIDE}}}[$__rate_interval]))"
    each = "{{pod}}: {{container}}"
    row(
        made,
        "Memory and CPU",
        graph(
            "Memory of its limit",
            "The share that each container uses. Dashed: the threshold of ContainerMemoryHigh.",
            units.PercentUnit,
            {each: _share(memory, "memory")},
            limit=over("containerMemoryHigh"),
            span=12,
        ),
        graph("Memory", "The working set of each container.", units.BytesIEC, {each: memory}, span=12),
        graph(
            "CPU of its limit",
            "The share that each container uses.",
            units.PercentUnit,
            {each: _share(cpu, "cpu")},
        ),
        graph("CPU", "Cores that each container uses.", units.Short, {each: cpu}),
        graph(
            "Held back by the CPU limit",
            "The share of periods, for each container. Dashed: the threshold of ContainerThrottled.",
            units.PercentUnit,
            {
                each: f"sum by ({EACH}) "
                f"(rate(container_cpu_cfs_throttled_periods_total{{{INSIDE}}}[$__rate_interval]))"
                f" / sum by ({EACH}) (rate(container_cpu_cfs_periods_total{{{INSIDE}}}[$__rate_interval]))"
            },
            limit=over("containerThrottled"),
        ),
    )
    row(
        made,
        "Restarts and volumes",
        graph(
            "Restarts",
            "Of each container in an hour. Dashed: the threshold of ContainerRestarting.",
            units.Short,
            {each: " or ".join(f"increase({restarts}{{{OURS}}}[1h])" for restarts in RESTARTS)},
            limit=over("containerRestarting"),
            span=12,
        ),
        graph(
            "Volumes",
            "The share of each volume that is full. Dashed: the threshold of VolumeFilling.",
            units.PercentUnit,
            {
                "{{persistentvolumeclaim}}": f"1 - kubelet_volume_stats_available_bytes{{{VOLUMES}}}"
                f" / kubelet_volume_stats_capacity_bytes{{{VOLUMES}}}"
            },
            limit=over("volumeFilling"),
            span=12,
            top=1,
        ),
    )
    return made
