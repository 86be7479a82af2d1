"""The programs of Lighthouse that expose metrics, with what each of them measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci.monitoring.families import Family, departures, registered
from lighthouse_agent import metrics as agent
from lighthouse_bridge import metrics as bridge
from lighthouse_bridge.metric_labels import LABELS as BRIDGE_LABELS
from lighthouse_fuse_csi import driver_metrics, fuse_metrics
from lighthouse_redis_keeper import metrics as redis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry


@dataclass(frozen=True)
class Process:
    """A program: its name, what it is, the port of `/metrics`, its families and its labels' closed sets of values."""

    name: str
    what: str
    port: int
    families: tuple[Family, ...]
    labels: Mapping[str, Mapping[str, tuple[str, ...]]]

    def departures(self, text: str) -> list[str]:
        """What in a scrape of this program differs from its families, as sentences."""
        return departures(text, self.families, self.labels)


def _process(
    name: str,
    what: str,
    port: int,
    registry: CollectorRegistry,
    labels: Mapping[str, Mapping[str, tuple[str, ...]]],
) -> Process:
    return Process(name, what, port, registered(registry, labels), labels)


def processes() -> tuple[Process, ...]:
    """Every program that exposes metrics."""
    driver = driver_metrics.DriverMetrics()
    return (
        _process("bridge", "The bridge", 8080, bridge.REGISTRY, BRIDGE_LABELS),
        _process("agents", "An expert agent", 8083, agent.Metrics().registry, agent.LABELS),
        _process(
            "fuse",
            "The file-system sidecar of an agent",
            8081,
            fuse_metrics.Metrics().registry,
            fuse_metrics.LABELS,
        ),
        _process("fuse-csi", "The CSI node driver", 8082, driver.registry, driver_metrics.LABELS),
        _process("redis-keeper", "The keeper of Redis", 8085, redis.KeeperMetrics().registry, {}),
        _process(
            "redis-guard", "The guard beside each node of Redis", 8085, redis.GuardMetrics().registry, {}
        ),
    )


def process(name: str) -> Process:
    """The program of that name; raises KeyError."""
    return {each.name: each for each in processes()}[name]
