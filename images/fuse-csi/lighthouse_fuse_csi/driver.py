"""The node driver's process: one socket for kubelet, one thread for the sidecars, one port for probes."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import grpc
import structlog

from lighthouse_fuse_csi import web
from lighthouse_fuse_csi.connections import Connections
from lighthouse_fuse_csi.driver_metrics import DriverMetrics
from lighthouse_fuse_csi.errors import SettingsError
from lighthouse_fuse_csi.handoff import Handoff
from lighthouse_fuse_csi.node import Services
from lighthouse_fuse_csi.pods import Pods

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_fuse_csi.settings import DriverSettings

_log = structlog.get_logger()


def run(settings: DriverSettings) -> int:
    """Serve until a signal comes or kubelet refuses the driver; returns the exit status."""
    if os.geteuid() != 0:
        raise SettingsError(f"The driver runs as uid {os.geteuid()}; run it privileged, as root.")
    if not settings.fuse_device.is_char_device():
        raise SettingsError(f"{settings.fuse_device} is no device; load the node's fuse module.")
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    metrics = DriverMetrics()
    connections = Connections(settings.connections)
    pods = Pods(settings, connections, metrics)
    pods.restore()
    metrics.watch(pods, connections)
    handoff = Handoff(pods, metrics, settings.abort_seconds)
    handoff.start()
    services = Services(settings, pods, metrics)
    server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="grpc"))
    server.add_generic_rpc_handlers(services.handlers())
    folder = _bind(server, settings.socket)
    server.start()
    listener = web.listen(settings.metrics_port, settings.metrics_tls)
    web.serve(
        listener,
        {
            "/health": lambda: web.plain(*((200, "ok") if handoff.healthy() else (503, "hand-off stopped"))),
            "/metrics": web.metrics(metrics.registry),
        },
    )
    _log.info("serving", socket=str(settings.socket), node=settings.node, pods=len(pods.all()))
    while not stop.wait(0.5):
        if services.refused:
            _log.error("kubelet refused the driver", reason=services.refused)
            break
    server.stop(2).wait()
    settings.socket.unlink(missing_ok=True)
    os.close(folder)
    return 1 if services.refused else 0


def _bind(server: grpc.Server, path: Path) -> int:
    """Bind kubelet's socket through /proc, for any length of path; returns the folder's descriptor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not server.add_insecure_port(f"unix:///proc/self/fd/{folder}/{path.name}"):
        raise SettingsError(f"{path} cannot be bound.")
    return folder
