"""Prometheus metrics of the bridge. Label values come from closed sets, so cardinality is bounded."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

Metric = TypeVar("Metric", Counter, Gauge, Histogram)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PATIENT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

validation_seconds = Histogram(
    "lighthouse_bridge_validation_duration_seconds",
    "Time from a validation's arrival to its durable decision.",
    ("tier", "decision"),
    buckets=_FAST,
    registry=REGISTRY,
)
cache_lookups = Counter(
    "lighthouse_bridge_cache_lookups",
    "Lookups in the decision cache.",
    ("result",),
    registry=REGISTRY,
)
rules_loaded = Gauge("lighthouse_bridge_rules", "Rules in force.", registry=REGISTRY)
rules_reloads = Counter(
    "lighthouse_bridge_rules_reloads",
    "Attempts to load changed rules; a failed one keeps the rules in force.",
    ("result",),
    registry=REGISTRY,
)
RELOADS = ("loaded", "failed")
# There before the first, as LIMITS below.
for _result in RELOADS:
    rules_reloads.labels(_result)
rules_broken = Gauge(
    "lighthouse_bridge_rules_broken",
    "1 while the rules on disk cannot be loaded and older ones are in force.",
    registry=REGISTRY,
)
certificate_changes = Counter(
    "lighthouse_bridge_certificate_changes",
    "New certificates that took over from former ones without a restart.",
    registry=REGISTRY,
)
certificate_broken = Gauge(
    "lighthouse_bridge_certificate_broken",
    "1 while the certificate on disk cannot be used and the former is shown.",
    registry=REGISTRY,
)
events_appended = Counter(
    "lighthouse_bridge_events_appended",
    "Events that this bridge durably appended.",
    ("event_type",),
    registry=REGISTRY,
)
commit_seconds = Histogram(
    "lighthouse_bridge_store_commit_duration_seconds",
    "Time of one group commit, from BEGIN to durable.",
    buckets=_FAST,
    registry=REGISTRY,
)
commit_jobs = Histogram(
    "lighthouse_bridge_store_commit_jobs",
    "Writes that shared one group commit.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    registry=REGISTRY,
)
store_failures = Counter(
    "lighthouse_bridge_store_failures", "Reads and writes the store could not serve.", registry=REGISTRY
)
store_ready = Gauge("lighthouse_bridge_store_ready", "1 while the store accepts writes.", registry=REGISTRY)
last_sequence = Gauge("lighthouse_bridge_event_sequence", "Sequence of the latest event.", registry=REGISTRY)
sessions_created = Counter(
    "lighthouse_bridge_sessions_created", "Sessions created.", ("role",), registry=REGISTRY
)
sessions_live = Gauge(
    "lighthouse_bridge_sessions",
    "Sessions that are live; each bridge tells of all.",
    ("role",),
    registry=REGISTRY,
)
stream_subscribers = Gauge("lighthouse_bridge_stream_subscribers", "Open event streams.", registry=REGISTRY)
stream_dropped = Counter(
    "lighthouse_bridge_stream_dropped", "Event streams closed because the reader was slow.", registry=REGISTRY
)
requests = Counter(
    "lighthouse_bridge_http_requests",
    "HTTP requests answered.",
    ("method", "route", "code"),
    registry=REGISTRY,
)
request_seconds = Histogram(
    "lighthouse_bridge_http_request_duration_seconds",
    "Time to answer an HTTP request; streams are not counted.",
    ("route",),
    buckets=_FAST,
    registry=REGISTRY,
)
requests_limited = Counter(
    "lighthouse_bridge_requests_limited",
    "Requests refused because an agent, or all of them, asked too much.",
    ("limit",),
    registry=REGISTRY,
)
LIMITS = ("agent", "total", "registrations", "elicitations", "responses")
# What counts faults, or what is rare, is there before the first: of a series that begins with it no rate tells.
for _limit in LIMITS:
    requests_limited.labels(_limit)
violations = Counter(
    "lighthouse_bridge_security_violations",
    "Requests that only an attacker or a defect makes.",
    ("kind",),
    registry=REGISTRY,
)
VIOLATIONS = (
    "forged_signature",
    "forged_token",
    "moved_session",
    "replayed_message",
    "stale_signature",
    "wrong_addressee",
    "wrong_join_key",
)
for _kind in VIOLATIONS:
    violations.labels(_kind)


def violation_counts() -> dict[str, int]:
    """How many violations of each kind there were since this process started."""
    samples = next(iter(violations.collect())).samples
    return {sample.labels["kind"]: int(sample.value) for sample in samples}


requests_open = Gauge(
    "lighthouse_bridge_http_requests_in_flight", "HTTP requests being answered.", registry=REGISTRY
)
loop_tasks = Gauge(
    "lighthouse_bridge_tasks", "Tasks of the event loop, sampled every few seconds.", registry=REGISTRY
)
pending_validations = Gauge(
    "lighthouse_bridge_pending_validations",
    "Validations that wait for experts or people; each bridge tells of all.",
    registry=REGISTRY,
)
experts_registered = Gauge(
    "lighthouse_bridge_experts",
    "Experts heard of in the last ten minutes; each bridge tells of all.",
    registry=REGISTRY,
)
experts_asked = Counter(
    "lighthouse_bridge_experts_asked", "Experts asked to judge a validation.", registry=REGISTRY
)
expert_answers = Counter(
    "lighthouse_bridge_expert_answers", "Answers of experts.", ("decision",), registry=REGISTRY
)
escalations_ended = Counter(
    "lighthouse_bridge_escalations_ended",
    "Validations that no rule decided, by who ended them and how.",
    ("tier", "decision"),
    registry=REGISTRY,
)
expert_seconds = Histogram(
    "lighthouse_bridge_expert_consensus_duration_seconds",
    "Time from asking experts to their decision or to giving up on it.",
    ("decision",),
    buckets=_PATIENT,
    registry=REGISTRY,
)
expert_wait_seconds = Histogram(
    "lighthouse_bridge_expert_work_wait_duration_seconds",
    "Time that work waited until its expert took it up.",
    buckets=_PATIENT,
    registry=REGISTRY,
)
tier_seconds = Histogram(
    "lighthouse_bridge_tier_duration_seconds",
    "Time a tier took to look at a call that no tier before it decided.",
    ("tier",),
    buckets=(0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 2.5),
    registry=REGISTRY,
)
tier_failures = Counter(
    "lighthouse_bridge_tier_failures",
    "Times a tier of the decision failed or took too long.",
    ("tier",),
    registry=REGISTRY,
)
trace_spans = Counter(
    "lighthouse_bridge_trace_spans",
    "Spans for the collector of traces; lost are those that it did not take.",
    ("result",),
    registry=REGISTRY,
)
SPANS = ("sent", "lost")
for _result in SPANS:
    trace_spans.labels(_result)
circuit_open = Gauge(
    "lighthouse_bridge_tier_circuit_open",
    "1 while a tier is left out because it kept failing.",
    ("tier",),
    registry=REGISTRY,
)


@cache
def child(metric: Metric, *labels: str) -> Metric:
    """`metric.labels(*labels)`, remembered: finding it takes longer than counting."""
    return metric.labels(*labels)
