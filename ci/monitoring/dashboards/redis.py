"""Redis: nodes, memory, clients, and the keeper that mends the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import (
    REDIS,
    Found,
    dashboard,
    graph,
    number,
    of_redis,
    rate,
    row,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard(
        "redis",
        "Redis",
        "What bridges share beside their store: nodes, memory, clients, and the keeper.",
        Found("lighthouse_redis_guard_reloads_total", "redis"),
    )
    row(
        made,
        "Cluster",
        number(
            "Nodes that answer",
            "As their exporters see it.",
            units.Short,
            f"sum(redis_up{{{REDIS}}})",
            span=6,
        ),
        number(
            "Whole",
            "The share of the latest half hour in which the keeper had nothing to do. Red: below the threshold of "
            "RedisNotHealing.",
            units.PercentUnit,
            f"max(avg_over_time(lighthouse_redis_keeper_whole{{{REDIS}}}[30m]))",
            limit=of_redis("whole", is_over=False),
            span=6,
        ),
        number(
            "Slots that are served",
            "As the worst node sees it. Red: below the threshold of RedisSlotsUnserved.",
            units.Number,
            f"min(redis_cluster_slots_ok{{{REDIS}}})",
            limit=of_redis("slots", is_over=False),
            span=6,
        ),
        number(
            "Actions of the keeper",
            "In its latest step.",
            units.Short,
            f"max(lighthouse_redis_keeper_actions{{{REDIS}}})",
            span=6,
        ),
    )
    row(
        made,
        "Nodes",
        graph(
            "Memory",
            "The share of `maxmemory` that is used. Dashed: the threshold of RedisMemoryHigh.",
            units.PercentUnit,
            {"{{pod}}": f"redis_memory_used_bytes{{{REDIS}}} / (redis_memory_max_bytes{{{REDIS}}} > 0)"},
            limit=of_redis("memory"),
            top=1,
        ),
        graph(
            "Evictions",
            "Keys a second that were dropped for want of memory. Dashed: the threshold of RedisEvictions.",
            units.OpsPerSecond,
            {"{{pod}}": rate("redis_evicted_keys_total", REDIS, by="pod")},
            limit=of_redis("evictions"),
        ),
        graph(
            "Connections",
            "Clients of each node.",
            units.Short,
            {"{{pod}}": f"redis_connected_clients{{{REDIS}}}"},
        ),
        graph(
            "Replicas of primaries",
            "Replicas that are connected to a node; primaries have some.",
            units.Short,
            {"{{pod}}": f"redis_connected_slaves{{{REDIS}}}"},
        ),
        graph(
            "Writes to disk that fail",
            "1 while a node could not write or rewrite its log.",
            units.Short,
            {
                "{{pod}}: write": f"1 - redis_aof_last_write_status{{{REDIS}}}",
                "{{pod}}: rewrite": f"1 - redis_aof_last_bgrewrite_status{{{REDIS}}}",
            },
        ),
        graph(
            "Changed files read",
            "Times in an hour that a node took over a new certificate or users.",
            units.Short,
            {"{{pod}}": f"increase(lighthouse_redis_guard_reloads_total{{{REDIS}}}[1h])"},
        ),
    )
    return made
