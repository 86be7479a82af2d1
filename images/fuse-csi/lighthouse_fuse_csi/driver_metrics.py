"""Metrics of the node driver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

from lighthouse_fuse_csi import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lighthouse_fuse_csi.connections import Connections
    from lighthouse_fuse_csi.pods import Pods


class DriverMetrics:
    """The driver's counters, and gauges read when they are asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.operations = Counter(
            "lighthouse_csi_operations_total",
            "CSI calls by answer.",
            ["method", "code"],
            registry=self.registry,
        )
        self.duration = Histogram(
            "lighthouse_csi_operation_duration_seconds",
            "Time of a CSI call.",
            ["method"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=self.registry,
        )
        self.handoffs = Counter(
            "lighthouse_csi_fd_handoffs_total",
            "Dials of sidecars by what became of them.",
            ["kind", "result"],
            registry=self.registry,
        )
        self.aborts = Counter(
            "lighthouse_csi_connection_aborts_total",
            "FUSE connections ended by the driver.",
            ["reason"],
            registry=self.registry,
        )
        self.aborts.labels("deadline")

    def watch(self, pods: Pods, connections: Connections) -> None:
        """Show the state of these pods' mounts."""
        self.registry.register(_Gauges(pods, connections))


class _Gauges:
    def __init__(self, pods: Pods, connections: Connections) -> None:
        self._pods = pods
        self._connections = connections

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = time.monotonic()
        counts = {"waiting": 0, "serving": 0, "orphaned": 0}
        projects = set()
        for pod in self._pods.all():
            if pod.data is not None:
                counts[pod.state(now)] += 1
                projects.add(str(pod.data.project))
        family = GaugeMetricFamily("lighthouse_csi_mounts", "FUSE mounts by state.", labels=["state"])
        for state, count in counts.items():
            family.add_metric([state], count)
        yield family
        minors = {mount.minor for mount in mounts.table() if mount.path in projects}
        yield GaugeMetricFamily(
            "lighthouse_csi_connection_waiting_requests",
            "Requests of the kernel that wait for an answer, all mounts together.",
            value=self._connections.waiting(minors),
        )
