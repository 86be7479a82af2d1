"""The process: listens, serves until it is told to end, then drains and closes the store.

Granian is embedded, so one process and one event loop hold everything, and draining is in our hands.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from typing import TYPE_CHECKING

from granian.constants import Interfaces
from granian.server.embed import Server
from prometheus_client import start_http_server

from . import metrics
from .bridge import Bridge
from .endpoint import Application
from .environment import SettingsError
from .logs import log
from .routes import ROUTES

if TYPE_CHECKING:
    from .settings import Settings

# What the server has accepted but not yet written when the last request is answered.
FLUSH_SECONDS = 0.3
# Long enough for a client that asks steadily to be told, with an answer, that its connection ends.
LINGER_SECONDS = 1.0


async def serve(settings: Settings, secret: bytes) -> None:
    """Serve until SIGTERM or SIGINT; raises SettingsError when a port is taken or the rules are broken."""
    _require_free(settings.host, settings.port, "LIGHTHOUSE_PORT")
    _require_free(settings.host, settings.metrics_port, "LIGHTHOUSE_METRICS_PORT")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    bridge = Bridge(settings, secret)
    await bridge.start()
    application = Application(bridge, ROUTES)
    server = Server(
        application,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        backlog=1024,
        log_enabled=False,
        websockets=True,
    )
    metrics_server, metrics_thread = start_http_server(
        settings.metrics_port, settings.host, registry=metrics.REGISTRY
    )
    serving = asyncio.create_task(server.serve())
    if not bridge.keys.roles():
        log.warning("no join key is usable, nobody can open a session", folder=str(settings.keys_dir))
    log.info(
        "serving",
        host=settings.host,
        port=settings.port,
        metrics_port=settings.metrics_port,
        rules_version=bridge.decider.version,
        sequence=bridge.database.last_sequence,
    )
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await _drain(bridge, application, settings.drain_seconds)
    server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
    await asyncio.wait({serving}, timeout=FLUSH_SECONDS)
    await asyncio.sleep(FLUSH_SECONDS)
    await bridge.close()
    await asyncio.to_thread(metrics_server.shutdown)
    metrics_server.server_close()
    metrics_thread.join(1)
    log.info("stopped", sequence=bridge.database.last_sequence)


async def _drain(bridge: Bridge, application: Application, seconds: float) -> None:
    log.info("draining", seconds=seconds, open_requests=application.open_requests)
    bridge.stop_waiting()
    now = time.monotonic()
    end, linger = now + seconds, now + min(seconds, LINGER_SECONDS)
    while (now := time.monotonic()) < end and (application.open_requests or now < linger):
        await asyncio.sleep(0.02)
    if application.open_requests:
        log.warning("requests cut off", open_requests=application.open_requests)


def _require_free(host: str, port: int, name: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"{name}: cannot listen on {host}:{port} ({error.strerror}); choose another port."
            ) from None
