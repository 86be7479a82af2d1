"""The expert agent process: its parts, its signals, its end."""

import os
import signal
import threading
from types import FrameType

import structlog

from lighthouse_agent import logs
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.contexts import Contexts
from lighthouse_agent.judge import load_judge
from lighthouse_agent.membership import Membership
from lighthouse_agent.metrics import Metrics
from lighthouse_agent.mount import MountWatch
from lighthouse_agent.probes import ProbeServer
from lighthouse_agent.settings import RunSettings
from lighthouse_agent.tokens import MemoryTokens
from lighthouse_agent.work import POLL_SECONDS, Worker

# One call to the bridge may be under way when the end comes, and one more ends the session.
_CALL_SECONDS = 5.0
_DRAIN_SECONDS = 3 * _CALL_SECONDS

_log = structlog.get_logger()


def run(settings: RunSettings) -> None:
    """Work until SIGTERM or SIGINT, then end the session and the process."""
    logs.configure(settings.log_level, settings.bridge.agent_id)
    stop = threading.Event()

    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)

    metrics = Metrics()
    # One session for both clients: a bridge counts sessions, and a client serves one thread.
    tokens = MemoryTokens()
    client = BridgeClient(
        settings.bridge,
        timeout=_CALL_SECONDS,
        tokens=tokens,
        observe=lambda route, seconds: metrics.bridge_seconds.labels(route).observe(seconds),
    )
    membership = Membership(client, settings, metrics)
    mount = MountWatch(
        settings.mount, metrics, every=settings.probe_seconds, limit=settings.probe_limit_seconds
    )

    worker = Worker(
        BridgeClient(settings.bridge, timeout=POLL_SECONDS + _CALL_SECONDS, tokens=tokens),
        load_judge(settings),
        Contexts(settings.mount, lambda: mount.missing),
        metrics,
        agent_type=settings.agent_type,
        idle=lambda: membership.missing,
    )

    def missing() -> list[str]:
        draining = "draining" if stop.is_set() else None
        return [reason for reason in (draining, membership.missing, mount.missing) if reason is not None]

    server = ProbeServer(settings.port, missing, metrics.registry, settings.metrics_tls)
    joined = threading.Thread(target=membership.keep, args=(stop,), name="membership", daemon=True)
    for thread in (
        joined,
        threading.Thread(target=mount.keep, args=(stop,), name="mount", daemon=True),
        threading.Thread(target=worker.keep, args=(stop,), name="work", daemon=True),
        threading.Thread(target=server.serve_forever, name="probes", daemon=True),
    ):
        thread.start()
    _log.info("agent.started", port=settings.port, mount=str(settings.mount))
    stop.wait()
    _log.info("agent.draining")
    joined.join(_DRAIN_SECONDS)
    _log.info("agent.stopped")
    # Not sys.exit: a thread that hangs in the mount must not hold up the end.
    os._exit(0)
