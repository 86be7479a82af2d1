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
from lighthouse_fuse_csi.context import Context
from lighthouse_fuse_csi.current import Current
from lighthouse_fuse_csi.debug import Debug
from lighthouse_fuse_csi.follower import Follower
from lighthouse_fuse_csi.fuse_metrics import Metrics
from lighthouse_fuse_csi.history import History
from lighthouse_fuse_csi.notifier import Notifier
from lighthouse_fuse_csi.project import Project
from lighthouse_fuse_csi.server import Server, Session
from lighthouse_fuse_csi.shadows import Shadows
from lighthouse_fuse_csi.state import OperationLog, State
from lighthouse_fuse_csi.streams import Streams
from lighthouse_fuse_csi.system import Part, System
from lighthouse_fuse_csi.versions import Versions

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from lighthouse_fuse_csi.settings import SidecarSettings

_log = structlog.get_logger()
# The exit status that says: the kernel has ended the connection, a fresh mount is needed.
GONE = 75
BEAT_SECONDS = 0.5
ALIVE = b"alive"
_STUCK_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_ENDINGS = (errno.ENODEV, errno.ECONNABORTED, errno.ENOTCONN, errno.EPERM)


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
    daemon = Daemon(settings, descriptor, resumes)
    server = daemon.server
    if session is not None:
        server.session = msgspec.msgpack.decode(session, type=Session)
    server.initialized = lambda agreed: _tell(supervisor, msgspec.msgpack.encode(agreed))
    _settle_memory()

    ended: list[int] = []
    loop = Thread(target=lambda: ended.append(server.run()), name="server", daemon=True)
    loop.start()
    _log.info(
        "daemon serves",
        pid=os.getpid(),
        files=len(daemon.project.tree.files),
        milliseconds=round(1000 * (time.perf_counter() - started), 1),
    )
    daemon.start()
    web.serve(listener, daemon.routes())
    settled = daemon.project.loaded.is_set()
    while loop.is_alive():
        if not settled and daemon.project.loaded.is_set():
            _settle_memory()
            settled = True
        busy = server.busy_since
        if not busy or time.perf_counter_ns() - busy < _STUCK_SECONDS * 1e9:
            _tell(supervisor, ALIVE)
        loop.join(BEAT_SECONDS)
    code = ended[0] if ended else errno.EIO
    _log.warning("the kernel ended the connection", error=os.strerror(code))
    return GONE if code in _ENDINGS else 1


class Daemon:
    """All parts of the file system, put together around one descriptor."""

    def __init__(self, settings: SidecarSettings, descriptor: int, resumes: int) -> None:
        cache = settings.cache
        cache.mkdir(parents=True, exist_ok=True)
        self.metrics = metrics = Metrics()
        metrics.resumes = resumes
        bridge = Bridge(settings, metrics)
        blobs = Blobs(cache / "blobs", settings.cache_bytes)
        contents = Contents(blobs, bridge, metrics)
        versions = Versions(cache / "versions.journal", contents, bridge.fetch)
        self.project = project = Project(cache, contents, versions)
        project.restore()
        self.notifier = notifier = Notifier(descriptor, metrics)
        shadows = Shadows(project, versions, bridge, notifier, settings.bridge_seconds)
        self.streams = Streams(cache / "streams", settings.stream_bytes, notifier)
        makers = State(project, bridge, blobs, metrics).makers()
        self.debug = Debug(cache, makers, settings.stream_bytes, notifier)
        parts: list[Part] = [
            Current(project, versions, settings.bridge_seconds),
            shadows,
            History(cache, bridge, contents, notifier, settings.history_views),
            Context(bridge, versions),
            self.streams,
            self.debug,
        ]
        self.server = Server(descriptor, System(project, parts), metrics, settings.bridge_seconds + 1)
        self.prefetch = Prefetch(contents, bridge, settings.prefetch_bytes)
        self.follower = Follower(bridge, project, self.prefetch, notifier, self.streams, metrics)
        self.follower.tell(shadows)
        self.follower.tell(OperationLog(self.debug))
        metrics.cache_bytes = lambda: blobs.size
        metrics.cache_lookups = lambda: (blobs.hits, blobs.misses)
        metrics.ready = self.ready

    def start(self) -> None:
        """Start everything that serves no request itself."""
        self.notifier.start()
        # Lines that the predecessor wrote but did not announce.
        self.streams.announce()
        self.debug.note(
            f"daemon {os.getpid()} serves {len(self.project.tree.files)} files, resume {self.metrics.resumes}"
        )
        self.prefetch.start()
        self.follower.start()

    def ready(self) -> bool:
        """Whether INIT is answered and the tree loaded."""
        return self.server.session is not None and self.project.loaded.is_set()

    def routes(self) -> dict[str, Callable[[], web.Answer]]:
        """What the sidecar's HTTP port answers."""
        return {
            "/ready": lambda: web.plain(200, "ready") if self.ready() else web.plain(503, "not loaded yet"),
            "/metrics": web.metrics(self.metrics.registry),
        }


def _settle_memory() -> None:
    """Take what is loaded out of garbage collection, which would stop the request loop to look through it all."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def _tell(supervisor: socket.socket, message: bytes) -> None:
    try:
        supervisor.send(message)
    except OSError as error:
        # Without a supervisor nobody holds the descriptor for a successor: better to go with it.
        _log.warning("the supervisor is gone", error=str(error))
        os._exit(1)
