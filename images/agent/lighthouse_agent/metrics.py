"""What the expert agent measures; served as Prometheus text."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector

from lighthouse_agent.judge import DECISIONS

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lighthouse_agents_heartbeats_total": {"outcome": ("ok", "failed")},
    "lighthouse_agents_bridge_request_seconds": {
        "route": ("GET /expert", "GET /ready", "POST /expert", "POST /session"),
    },
    "lighthouse_agents_judgements_total": {"answer": (*sorted(DECISIONS), "failed", "unwanted")},
}
"""The values of each label of each metric that has labels: closed sets, so that the number of series is bounded."""


class Metrics:
    """The agent's metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registered = Gauge(
            "lighthouse_agents_registered",
            "1 while this expert has a live session and is registered with the bridge.",
            registry=self.registry,
        )
        self.mount_answering = Gauge(
            "lighthouse_agents_mount_answering",
            "1 while the project's mount answers within its time limit.",
            registry=self.registry,
        )
        self.mount_seconds = Histogram(
            "lighthouse_agents_mount_probe_seconds",
            "Time the project's mount took to answer a probe; a hung probe counts when it ends.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.heartbeats = Counter(
            "lighthouse_agents_heartbeats",
            "Heartbeats sent to the bridge by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.sessions = Counter(
            "lighthouse_agents_registrations",
            "Registrations with the bridge, one for each session opened.",
            registry=self.registry,
        )
        self.bridge_seconds = Histogram(
            "lighthouse_agents_bridge_request_seconds",
            "Time of the agent's requests to the bridge by route, failed ones included.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.judged = Counter(
            "lighthouse_agents_judgements",
            "Work this expert has done, by its answer.",
            ["answer"],
            registry=self.registry,
        )
        self.judge_seconds = Histogram(
            "lighthouse_agents_judgement_seconds",
            "Time this expert took for a judgement, reading the context included.",
            buckets=(*_SECONDS, 30.0),
            registry=self.registry,
        )
        for outcome in ("ok", "failed"):
            self.heartbeats.labels(outcome)
