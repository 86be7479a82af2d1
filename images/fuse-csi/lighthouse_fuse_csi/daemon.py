"""The process that serves the files. The supervisor forks it and forks another one when it dies."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING

import msgspec
import structlog

from lighthouse_fuse_csi import web
from lighthouse_fuse_csi.blobs import Blobs
from lighthouse_fuse_csi.bridge import Bridge
from lighthouse_fuse_csi.contents import Contents, Prefetch
from lighthouse_fuse_csi.current import Current
from lighthouse_fuse_csi.follower import Follower
from lighthouse_fuse_csi.fuse_metrics import Metrics
from lighthouse_fuse_csi.notifier import Notifier
from lighthouse_fuse_csi.project import Project
from lighthouse_fuse_csi.server import Server, Session
from lighthouse_fuse_csi.system import System
from lighthouse_fuse_csi.versions import Versions

if TYPE_CHECKING:
    import socket

    from lighthouse_fuse_csi.settings import SidecarSettings

_log = structlog.get_logger()
# The exit status that says: the kernel has ended the connection, a fresh mount is needed.
GONE = 75
BEAT_SECONDS = 0.5
ALIVE = b"alive"
_STUCK_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


def run(
    settings: SidecarSettings,
    descriptor: int,
    session: bytes | None,
    supervisor: socket.socket,
    listener: socket.socket,
    resumes: int,
) -> int:
    """Serve `descriptor` until the kernel ends the connection; returns the exit status.

    `session` is what was agreed with the kernel before, None when INIT is still to come. Heartbeats, and the
    session once it is agreed, go to `supervisor`.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    gc.disable()
    # The request loop must not wait long for another thread to give the interpreter up.
    sys.setswitchinterval(0.0005)
    started = time.perf_counter()
    settings.cache.mkdir(parents=True, exist_ok=True)
    metrics = Metrics()
    metrics.resumes = resumes
    bridge = Bridge(settings, metrics)
    blobs = Blobs(settings.cache / "blobs", settings.cache_bytes)
    contents = Contents(blobs, bridge, metrics)
    versions = Versions(settings.cache / "versions.journal", contents)
    project = Project(settings.cache, contents, versions)
    restored = project.restore()
    current = Current(project, versions, settings.bridge_seconds)
    system = System(project, [current])
    server = Server(descriptor, system, metrics, settings.bridge_seconds + 1)
    if session is not None:
        server.session = msgspec.msgpack.decode(session, type=Session)
    server.initialized = lambda agreed: _tell(supervisor, msgspec.msgpack.encode(agreed))
    notifier = Notifier(server.notify, metrics)
    prefetch = Prefetch(contents, bridge, settings.prefetch_bytes)
    follower = Follower(bridge, project, prefetch, notifier, metrics)
    metrics.cache_bytes = lambda: blobs.size
    metrics.ready = lambda: server.session is not None and project.loaded.is_set()
    gc.freeze()

    ended: list[int] = []
    loop = Thread(target=lambda: ended.append(server.run()), name="server", daemon=True)
    loop.start()
    _log.info(
        "daemon serves",
        pid=os.getpid(),
        files=len(project.tree.files),
        restored=restored,
        milliseconds=round(1000 * (time.perf_counter() - started), 1),
    )
    notifier.start()
    prefetch.start()
    follower.start()
    web.serve(
        listener,
        {
            "/ready": lambda: (
                web.plain(200, "ready") if metrics.ready() else web.plain(503, "not loaded yet")
            ),
            "/metrics": web.metrics(metrics.registry),
        },
    )
    while loop.is_alive():
        busy = server.busy_since
        if not busy or time.perf_counter_ns() - busy < _STUCK_SECONDS * 1e9:
            _tell(supervisor, ALIVE)
        loop.join(BEAT_SECONDS)
    code = ended[0] if ended else errno.EIO
    _log.warning("the kernel ended the connection", error=os.strerror(code))
    return GONE if code in (errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.EPERM) else 1


def _tell(supervisor: socket.socket, message: bytes) -> None:
    try:
        supervisor.send(message)
    except OSError as error:
        # Without a supervisor nobody holds the descriptor for a successor: better to go with it.
        _log.warning("the supervisor is gone", error=str(error))
        os._exit(1)
