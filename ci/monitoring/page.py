"""docs/metrics.md, written from what the programs register."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.monitoring.families import most_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ci.monitoring.families import Family
    from ci.monitoring.processes import Process

# More values than this are counted instead of listed.
LISTED = 9

HEAD = """# Metrics

Written by `make generate` from what the programs register; `make check` compares, and tests hold each program's
scrape against its table. Every program answers `GET /metrics` in Prometheus' text format, over TLS where
[`global.certificates.metrics`](certificates.md#metrics) says so, and without a session: the
NetworkPolicies alone decide who may ask (`networkPolicies.monitoring`). Times are in seconds, sizes in bytes;
counters end in `_total`; a histogram has `_bucket`, `_sum` and `_count`. Namespace, pod and node come from the scrape.

Values of labels come from closed sets: no agent's name, no path and no command is ever one. So the number of time
series of a program is bounded, whatever it is sent.

| Program | Port | Metrics | Time series at most |
|---|---|---|---|
"""

OTHERS = """
## What others expose

What rules and dashboards read of it, with the labels that they use beside namespace, pod and container;
`ci/monitoring/elsewhere.yaml` says in which version and source each is.

| Metric | Labels | By |
|---|---|---|
"""
BY: Mapping[str, str] = {
    "redis-exporter": "the exporter beside each node of Redis",
    "cloudnative-pg": "the instances of PostgreSQL (CloudNativePG)",
    "barman": "the same, for its Barman plugin",
    "cert-manager": "cert-manager's controller",
    "cadvisor": "kubelet's cAdvisor",
    "kubelet": "kubelet",
    "kube-state": "kube-state-metrics",
    "traefik": "Traefik, the controller of the edge",
    "prometheus": "Prometheus itself",
}


def page(processes: Iterable[Process], others: Mapping[str, Mapping[str, Iterable[str]]]) -> str:
    """The whole page: programs, and what others expose, by who does, with the labels of each metric."""
    rows = tuple(processes)
    summary = "".join(f"| {row.what} | {row.port} | {len(row.families)} | {bound(row):,} |\n" for row in rows)
    foreign = "".join(
        f"| `{name}` | {', '.join(f'`{label}`' for label in labels)} | {BY[who]} |\n"
        for who, metrics in others.items()
        for name, labels in metrics.items()
    )
    return HEAD + summary + "".join(map(_section, rows)) + OTHERS + foreign


def bound(process: Process) -> int:
    """How many time series a program has at most."""
    return sum(most_series(family, process.labels) for family in process.families)


def _section(process: Process) -> str:
    lines = [
        f"\n## {process.what}\n",
        "| Metric | Type | Labels | What it tells |",
        "|---|---|---|---|",
        *(
            f"| `{family.name}` | {family.kind} | {_labels(family, process)} | {family.help} |"
            for family in process.families
        ),
    ]
    return "\n".join(lines) + "\n"


def _labels(family: Family, process: Process) -> str:
    closed = process.labels.get(family.name, {})
    return "; ".join(
        f"`{name}`: {_values(closed[name])}" if name in closed else f"`{name}`" for name in family.labels
    )


def _values(values: tuple[str, ...]) -> str:
    if len(values) > LISTED:
        return f"{len(values)} values"
    return ", ".join(values)
