"""Watches that the project's FUSE mount answers, without ever hanging with it."""

import errno
import os
import threading
import time
from pathlib import Path

import structlog

from lighthouse_agent.metrics import Metrics

_log = structlog.get_logger()


class MountWatch:
    """Probes in a thread of its own, which a mount without a server holds up; only that thread waits for it.

    The probe opens no file: closing one on a mount nobody serves cannot be interrupted even by SIGKILL.
    """

    def __init__(self, mount: Path, metrics: Metrics, *, every: float, limit: float) -> None:
        """`every` and `limit` are the seconds between two probes and those a probe may take."""
        self._mount = mount
        self._metrics = metrics
        self._every = every
        self._limit = limit
        self._lock = threading.Lock()
        self._begun: float | None = None
        self._missing: str | None = f"mount {mount} was not yet probed"
        self._told: str | None = None
        metrics.mount_answering.set_function(lambda: float(self.missing is None))

    @property
    def missing(self) -> str | None:
        """Why the mount cannot be read just now; None when it answers."""
        with self._lock:
            hung = self._begun is not None and time.monotonic() - self._begun > self._limit
            return f"mount {self._mount} has not answered for {self._limit:g} s" if hung else self._missing

    def keep(self, stop: threading.Event) -> None:
        """Probe until `stop` is set."""
        while not stop.is_set():
            self._probe()
            stop.wait(self._every)

    def _probe(self) -> None:
        with self._lock:
            self._begun = started = time.monotonic()
        missing = _look(self._mount)
        elapsed = time.monotonic() - started
        self._metrics.mount_seconds.observe(elapsed)
        with self._lock:
            self._begun, self._missing = None, missing
        if missing != self._told:
            self._told = missing
            if missing is None:
                _log.info("mount.answers", mount=str(self._mount), seconds=round(elapsed, 4))
            else:
                _log.warning("mount.missing", reason=missing)


def _look(mount: Path) -> str | None:
    try:
        # The kernel caches names and attributes but asks the server for this each time.
        os.statvfs(mount)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            return f"mount {mount} cannot be read ({error.strerror})"
    try:
        # Without the mount there is an empty folder in its place.
        (mount / "current").stat()
    except OSError as error:
        return f"mount {mount} does not show the project ({error.strerror})"
    return None
