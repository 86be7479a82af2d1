"""`keep` a cluster, `guard` one node, or `scale` a cluster down before its pods go."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import structlog

from lighthouse_redis_keeper.errors import SettingsError
from lighthouse_redis_keeper.guard import Guard
from lighthouse_redis_keeper.keeper import Keeper
from lighthouse_redis_keeper.metrics import GuardMetrics, KeeperMetrics
from lighthouse_redis_keeper.redaction import redact
from lighthouse_redis_keeper.scale import scale
from lighthouse_redis_keeper.settings import read_guard, read_keeper, read_level, read_metrics_tls
from lighthouse_redis_keeper.web import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

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
    keeper, metrics = Keeper(read_keeper(os.environ)), KeeperMetrics()

    def step() -> None:
        metrics.steps.set(len(keeper.step()))
        metrics.whole.set(keeper.done)
        metrics.answering.set(len(keeper.situation.views))

    return _run(
        step,
        STEP_SECONDS,
        metrics.registry,
        lambda: "" if keeper.done else "The cluster is not as it should be.",
    )


def _guard() -> int:
    guard, metrics = Guard(read_guard(os.environ)), GuardMetrics()
    missing = ["The node has not been asked yet."]

    def step() -> None:
        reloads, rewrites = guard.reloads, guard.rewrites
        guard.step()
        metrics.reloads.inc(guard.reloads - reloads)
        metrics.rewrites.inc(guard.rewrites - rewrites)
        missing[:] = guard.missing()

    return _run(step, GUARD_SECONDS, metrics.registry, lambda: "; ".join(missing))


def _run(
    step: Callable[[], None], pause: float, registry: CollectorRegistry, missing: Callable[[], str]
) -> int:
    latest = [time.monotonic()]

    def stuck() -> str:
        silent = time.monotonic() - latest[0]
        return f"No step has ended for {silent:.0f} s." if silent > STUCK_SECONDS else ""

    serve(registry, stuck, missing, read_metrics_tls(os.environ))
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
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    sys.exit(main())
