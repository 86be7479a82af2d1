"""What keeper and guards measure; served as Prometheus text. No metric has labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped


class KeeperMetrics:
    """The keeper's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.whole = Gauge(
            "lighthouse_redis_keeper_whole",
            "1 while the cluster is whole, in its configured shape, and nothing is to be done.",
            registry=self.registry,
        )
        self.answering = Gauge(
            "lighthouse_redis_keeper_nodes_answering", "Nodes that answer.", registry=self.registry
        )
        self.steps = Gauge(
            "lighthouse_redis_keeper_actions", "Actions of the latest step.", registry=self.registry
        )


class GuardMetrics:
    """A guard's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reloads = Counter(
            "lighthouse_redis_guard_reloads",
            "Times that the node has read changed files.",
            registry=self.registry,
        )
        self.rewrites = Counter(
            "lighthouse_redis_guard_log_rewrites",
            "Times that the log of writes was written anew, since writes to it had failed.",
            registry=self.registry,
        )
