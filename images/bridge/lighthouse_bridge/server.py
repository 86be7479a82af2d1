"""The process: listens, serves until it is told to end, then drains and closes the store.

Granian is embedded, so one process and one event loop hold everything, and draining is in our hands.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from typing import TYPE_CHECKING

from . import tracing
from .bridge import Bridge
from .certificate import CertificateError
from .endpoint import PROBES, Application
from .environment import SettingsError
from .listener import Listener
from .logs import log
from .metrics_tls import CertificateError as MetricsCertificateError
from .routes import ROUTES
from .scrapes import Scrapes

if TYPE_CHECKING:
    from .auth_keys import AuthKeys
    from .certificate import Tls
    from .settings import Settings

# What the server has accepted but not yet written when the last request is answered.
FLUSH_SECONDS = 0.3
# Long enough for a client that asks steadily to be told, with an answer, that its connection ends.
LINGER_SECONDS = 1.0


async def serve(settings: Settings, auth_keys: AuthKeys) -> None:
    """Serve until SIGTERM or SIGINT; raises SettingsError when a port is taken or rules or certificate are broken."""
    _require_free(settings.host, settings.metrics_port, "LIGHTHOUSE_METRICS_PORT")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stop_traces = tracing.start(settings.traces, settings.traces_ratio) if settings.traces else None
    bridge = Bridge(settings, auth_keys)
    await bridge.start()
    application = Application(bridge, ROUTES)
    listeners = _listeners(settings, bridge, application)
    scrapes = _scrapes(settings)
    serving = [asyncio.create_task(listener.serve()) for listener in listeners]
    if not bridge.keys.roles():
        log.warning("no join key is usable, nobody can open a session", folder=str(settings.keys_dir))
    log.info(
        "serving",
        host=settings.host,
        port=settings.port,
        tls=settings.tls is not None,
        metrics_port=settings.metrics_port,
        rules_version=bridge.decider.version,
        sequence=bridge.database.last_sequence,
    )
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({*serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await _drain(bridge, application, settings.drain_seconds)
    for listener in listeners:
        listener.stop()
    await asyncio.wait(serving, timeout=FLUSH_SECONDS)
    await asyncio.sleep(FLUSH_SECONDS)
    await bridge.close()
    await asyncio.to_thread(scrapes.close)
    if stop_traces is not None:
        await asyncio.to_thread(stop_traces)
    log.info("stopped", sequence=bridge.database.last_sequence)


def _listeners(settings: Settings, bridge: Bridge, application: Application) -> list[Listener]:
    """The clients' port; and where that is over TLS, one in plain text for probes, which have no certificate."""
    found = [_listen(application, settings.host, settings.port, "LIGHTHOUSE_PORT", settings.tls)]
    if settings.tls:
        probes = Application(bridge, [route for route in ROUTES if route.path in PROBES])
        found.append(_listen(probes, settings.host, settings.probe_port, "LIGHTHOUSE_PROBE_PORT"))
    return found


def _scrapes(settings: Settings) -> Scrapes:
    try:
        return Scrapes(settings.host, settings.metrics_port, settings.metrics_tls)
    except MetricsCertificateError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise _taken(settings.host, settings.metrics_port, "LIGHTHOUSE_METRICS_PORT", error) from None


def _listen(application: Application, host: str, port: int, name: str, tls: Tls | None = None) -> Listener:
    _require_free(host, port, name)
    try:
        return Listener(application, host, port, tls)
    except CertificateError as error:
        raise SettingsError(str(error)) from None
    except OSError as error:
        raise _taken(host, port, name, error) from None


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
            raise _taken(host, port, name, error) from None


def _taken(host: str, port: int, name: str, error: OSError) -> SettingsError:
    why = os.strerror(error.errno) if error.errno else str(error)
    return SettingsError(f"{name}: cannot listen on {host}:{port} ({why}); choose another port.")
