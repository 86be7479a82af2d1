"""Metrics of the node driver."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

from lighthouse_fuse_csi import mounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from lighthouse_fuse_csi.connections import Connections
    from lighthouse_fuse_csi.pods import Pods

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

_METHODS = (
    "GetInfo",
    "GetPluginCapabilities",
    "GetPluginInfo",
    "NodeGetCapabilities",
    "NodeGetInfo",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NotifyRegistrationStatus",
    "Probe",
)
_STATES = ("waiting", "serving", "orphaned")

LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lighthouse_csi_operations_total": {
        "method": _METHODS,
        "code": tuple(code.name for code in grpc.StatusCode),
    },
    "lighthouse_csi_operation_duration_seconds": {"method": _METHODS},
    "lighthouse_csi_fd_handoffs_total": {
        # Any message may come from a sidecar, also one that is not for the driver.
        "kind": ("hello", "deposit", "renew", "heartbeat", "grant", "accepted", "refused", "aborted"),
        "result": ("accepted", "granted", "remounted", "kept", "refused", "error"),
    },
    "lighthouse_csi_connection_aborts_total": {"reason": ("deadline",)},
    "lighthouse_csi_mounts": {"state": _STATES},
}
"""The values of each label of each metric that has labels: closed sets, so that the number of series is bounded."""


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
        # What counts faults is there before the first: of a series that begins with it no rate tells.
        self.aborts.labels("deadline")
        self.handoffs.labels("hello", "refused")
        for method in ("NodePublishVolume", "NodeUnpublishVolume"):
            self.operations.labels(method, grpc.StatusCode.INTERNAL.name)

        self.mounts: Callable[[], Mapping[str, int]] = lambda: dict.fromkeys(_STATES, 0)
        self.waiting: Callable[[], int] = lambda: 0
        self.registry.register(self)

    def watch(self, pods: Pods, connections: Connections) -> None:
        """Show the state of these pods' mounts."""
        self.mounts = lambda: _counted(pods)
        self.waiting = lambda: _waiting(pods, connections)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, as prometheus_client wants them."""
        family = GaugeMetricFamily("lighthouse_csi_mounts", "FUSE mounts by state.", labels=["state"])
        for state, count in self.mounts().items():
            family.add_metric([state], count)
        yield family
        yield GaugeMetricFamily(
            "lighthouse_csi_connection_waiting_requests",
            "Requests of the kernel that wait for an answer, all mounts together.",
            value=self.waiting(),
        )


def _counted(pods: Pods) -> Mapping[str, int]:
    now = time.monotonic()
    counts = dict.fromkeys(_STATES, 0)
    for pod in pods.all():
        if pod.data is not None:
            counts[pod.state(now)] += 1
    return counts


def _waiting(pods: Pods, connections: Connections) -> int:
    projects = {str(pod.data.project) for pod in pods.all() if pod.data is not None}
    return connections.waiting({mount.minor for mount in mounts.table() if mount.path in projects})
