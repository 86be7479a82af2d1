"""Metrics of the sidecar: plain counters that the request loop may touch, shown when they are asked for."""

from __future__ import annotations

import errno
import time
from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from lighthouse_fuse_csi.protocol import Op

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Powers of two of 8.192 microseconds: the index of a time is the bit length of its nanoseconds shifted by 13.
_SHIFT = 13
_BUCKETS = 22

_OPS = tuple(op.name.lower() for op in Op)
LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lighthouse_fuse_requests_total": {"op": _OPS, "errno": ("", *errno.errorcode.values())},
    "lighthouse_fuse_request_duration_seconds": {"op": _OPS},
    "lighthouse_fuse_bridge_request_duration_seconds": {
        "route": ("tree", "blobs", "blob", "document", "context", "package"),
        "code": ("error", *(str(status.value) for status in HTTPStatus)),
    },
    "lighthouse_fuse_cache_lookups_total": {"cache": ("blobs",), "result": ("hit", "miss")},
    "lighthouse_fuse_invalidations_total": {"kind": ("entry", "inode")},
}
"""The values of each label of each metric that has labels: closed sets, so that the number of series is bounded."""


class Times:
    """A histogram whose observation costs one list access."""

    __slots__ = ("buckets", "nanoseconds")

    def __init__(self) -> None:
        self.buckets = [0] * (_BUCKETS + 1)
        self.nanoseconds = 0

    def add(self, nanoseconds: int) -> None:
        """Count one time."""
        index = (nanoseconds >> _SHIFT).bit_length()
        self.buckets[index if index < _BUCKETS else _BUCKETS] += 1
        self.nanoseconds += nanoseconds

    def export(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets with their limits in seconds, and the sum in seconds."""
        total, shown = 0, []
        for index, count in enumerate(self.buckets):
            total += count
            limit = "+Inf" if index == _BUCKETS else repr((1 << (_SHIFT + index)) / 1e9)
            shown.append((limit, float(total)))
        return shown, self.nanoseconds / 1e9


class Metrics:
    """All counters of one daemon process."""

    def __init__(self) -> None:
        # Errors are there before the first: of a series that begins with it no rate tells.
        self.requests: dict[tuple[str, str], int] = defaultdict(int, {("read", "EIO"): 0})
        self.durations: dict[str, Times] = defaultdict(Times)
        self.bridge: dict[tuple[str, str], Times] = defaultdict(Times)
        self.invalidations: dict[str, int] = defaultdict(int)
        self.read_bytes = 0
        self.in_flight = 0
        self.last_event = 0.0
        self.resumes = 0
        self.cache_bytes: Callable[[], int] = lambda: 0
        self.cache_lookups: Callable[[], tuple[int, int]] = lambda: (0, 0)
        self.ready: Callable[[], bool] = lambda: False
        self.started = time.time()
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        """What prometheus_client shows."""
        requests = CounterMetricFamily(
            "lighthouse_fuse_requests", "FUSE requests answered.", labels=["op", "errno"]
        )
        for (op, error), count in list(self.requests.items()):
            requests.add_metric([op, error], count)
        yield requests
        yield _histogram(
            "lighthouse_fuse_request_duration_seconds",
            "Time from reading a FUSE request to its answer.",
            ["op"],
            {(op,): times for op, times in list(self.durations.items())},
        )
        yield _histogram(
            "lighthouse_fuse_bridge_request_duration_seconds",
            "Time of a request to the bridge.",
            ["route", "code"],
            dict(self.bridge),
        )
        lookups = CounterMetricFamily(
            "lighthouse_fuse_cache_lookups", "Cache look-ups.", labels=["cache", "result"]
        )
        for result, count in zip(("hit", "miss"), self.cache_lookups(), strict=True):
            lookups.add_metric(["blobs", result], count)
        yield lookups
        invalidations = CounterMetricFamily(
            "lighthouse_fuse_invalidations", "Cache entries the kernel was told to forget.", labels=["kind"]
        )
        for kind, count in list(self.invalidations.items()):
            invalidations.add_metric([kind], count)
        yield invalidations
        for name, text, value in (
            ("lighthouse_fuse_requests_in_flight", "FUSE requests that wait for the bridge.", self.in_flight),
            ("lighthouse_fuse_cache_size_bytes", "Bytes in the content cache.", self.cache_bytes()),
            (
                "lighthouse_fuse_last_event_timestamp_seconds",
                "When the event stream last said something.",
                self.last_event,
            ),
            ("lighthouse_fuse_ready", "1 when the project is served.", int(self.ready())),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        yield CounterMetricFamily(
            "lighthouse_fuse_read_bytes", "Bytes of file content given to the kernel.", value=self.read_bytes
        )
        yield CounterMetricFamily(
            "lighthouse_fuse_resumes", "Times a new daemon took the mount over.", value=self.resumes
        )


def _histogram(
    name: str,
    text: str,
    labels: list[str],
    series: Mapping[Any, Times],
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, times in series.items():
        buckets, total = times.export()
        family.add_metric(list(values), buckets, total)
    return family
