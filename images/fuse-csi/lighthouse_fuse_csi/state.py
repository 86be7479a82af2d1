"""What `debug/` tells: the file system's own state, made into documents when someone looks."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_fuse_csi.blobs import Blobs
    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.debug import Debug
    from lighthouse_fuse_csi.follower import BridgeEvent
    from lighthouse_fuse_csi.fuse_metrics import Metrics, Times
    from lighthouse_fuse_csi.project import Project
    from lighthouse_fuse_csi.tree import Change


class State:
    """Makes the documents."""

    def __init__(self, project: Project, bridge: Bridge, blobs: Blobs, metrics: Metrics) -> None:
        self._project = project
        self._bridge = bridge
        self._blobs = blobs
        self._metrics = metrics

    def makers(self) -> dict[str, Callable[[], object]]:
        """Each document's maker by its file name."""
        return {
            "performance.json": self.performance,
            "cache_stats.json": self.cache,
            "health.json": self.health,
        }

    def performance(self) -> object:
        """Requests and their times, in microseconds."""
        requests: dict[str, int] = {}
        for (op, error), count in list(self._metrics.requests.items()):
            requests[f"{op} {error}".strip()] = count
        return {
            "generated_at": _now(),
            "requests": requests,
            "average_us": {op: _average(times) for op, times in list(self._metrics.durations.items())},
            "bridge_average_us": {
                f"{route} {code}": _average(times)
                for (route, code), times in list(self._metrics.bridge.items())
            },
            "read_bytes": self._metrics.read_bytes,
        }

    def cache(self) -> object:
        """The content cache."""
        return {
            "generated_at": _now(),
            "contents": len(self._blobs),
            "bytes": self._blobs.size,
            "limit_bytes": self._blobs.limit,
            "hits": self._blobs.hits,
            "misses": self._blobs.misses,
            "evictions": self._blobs.evictions,
        }

    def health(self) -> object:
        """Whether all is well."""
        following = time.time() - self._metrics.last_event < 15
        ready = self._metrics.ready()
        return {
            "generated_at": _now(),
            "status": "healthy" if ready and following else "degraded",
            "ready": ready,
            "follows_bridge": following,
            "bridge_answers": self._bridge.available,
            "sequence": self._project.sequence,
            "files": len(self._project.tree.files),
            "daemon": os.getpid(),
            "resumes": self._metrics.resumes,
            "uptime_seconds": round(time.time() - self._metrics.started, 1),
        }


class OperationLog:
    """Notes in the operation log what the bridge made the file system do."""

    def __init__(self, debug: Debug) -> None:
        self._debug = debug

    def tree_changed(self, change: Change) -> None:
        """A line for the change as a whole."""
        if change.entries:
            self._debug.note(
                f"tree changed: {len(change.entries)} names, {len(change.replaced)} files replaced"
            )

    def happened(self, events: list[tuple[BridgeEvent, bytes]]) -> None:
        """A line for the batch."""
        kinds = Counter(event.event_type for event, _ in events)
        words = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
        self._debug.note(f"events up to {events[-1][0].sequence}: {words}")


def _average(times: Times) -> float:
    count = sum(times.buckets)
    return round(times.nanoseconds / count / 1000, 1) if count else 0.0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
