"""`keep` a cluster, `guard` one node, or `scale` a cluster down before its pods go."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.process_collector import ProcessCollector

from lighthouse_redis_keeper.errors import SettingsError
from lighthouse_redis_keeper.guard import Guard
from lighthouse_redis_keeper.keeper import Keeper
from lighthouse_redis_keeper.scale import scale
from lighthouse_redis_keeper.settings import read_guard, read_keeper, read_level
from lighthouse_redis_keeper.web import serve

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_SECONDS = 1.0
GUARD_SECONDS = 0.5
STUCK_SECONDS = 120.0
SCALE_SECONDS = 3000.0
USAGE = "error: say what to do: keep, guard or scale."


def main() -> int:
    """Run the command; returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _configure_logs(read_level(os.environ))
        match sys.argv[1:]:
            case ["keep"]:
                return _keep()
            case ["guard"]:
                return _guard()
            case ["scale"]:
                return 0 if scale(read_keeper(os.environ), SCALE_SECONDS) else 1
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _keep() -> int:
    keeper = Keeper(read_keeper(os.environ))
    registry = CollectorRegistry()
    whole = Gauge(
        "lighthouse_redis_keeper_whole",
        "1 while the cluster is whole, in its configured shape, and nothing is to be done.",
        registry=registry,
    )
    answering = Gauge("lighthouse_redis_keeper_nodes_answering", "Nodes that answer.", registry=registry)
    steps = Gauge("lighthouse_redis_keeper_actions", "Actions of the latest step.", registry=registry)

    def step() -> None:
        steps.set(len(keeper.step()))
        whole.set(keeper.done)
        answering.set(len(keeper.situation.views))

    return _run(
        step, STEP_SECONDS, registry, lambda: "" if keeper.done else "The cluster is not as it should be."
    )


def _guard() -> int:
    guard = Guard(read_guard(os.environ))
    registry = CollectorRegistry()
    reloads = Gauge(
        "lighthouse_redis_guard_reloads", "Times that the node has read changed files.", registry=registry
    )
    missing = ["The node has not been asked yet."]

    def step() -> None:
        guard.step()
        reloads.set(guard.reloads)
        missing[:] = guard.missing()

    return _run(step, GUARD_SECONDS, registry, lambda: "; ".join(missing))


def _run(
    step: Callable[[], None], pause: float, registry: CollectorRegistry, missing: Callable[[], str]
) -> int:
    ProcessCollector(registry=registry)
    latest = [time.monotonic()]

    def stuck() -> str:
        silent = time.monotonic() - latest[0]
        return f"No step has ended for {silent:.0f} s." if silent > STUCK_SECONDS else ""

    serve(registry, stuck, missing)
    while True:
        step()
        latest[0] = time.monotonic()
        time.sleep(pause)


def _configure_logs(level: str) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
