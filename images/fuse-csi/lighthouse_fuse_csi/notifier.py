"""Tells the kernel what to forget.

Changes of `current/` are told by the events' thread itself: the request loop answers all that the kernel may
wait for there without the bridge. Elsewhere such a wait may last, so a thread of its own tells those.
"""

from __future__ import annotations

import errno
import os
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

import structlog

from lighthouse_fuse_csi.protocol import inval_entry, inval_inode

if TYPE_CHECKING:
    from lighthouse_fuse_csi.fuse_metrics import Metrics

_log = structlog.get_logger()


class Notifier(Thread):
    """Sends notifications, now or from its own thread."""

    def __init__(self, descriptor: int, metrics: Metrics) -> None:
        super().__init__(name="notifier", daemon=True)
        self._descriptor = descriptor
        self._metrics = metrics
        self._later: SimpleQueue[bytes] = SimpleQueue()

    def entry(self, parent: int, name: bytes) -> None:
        """A name means something else now."""
        self._metrics.invalidations["entry"] += 1
        self._send(inval_entry(parent, name))

    def inode(self, nodeid: int, offset: int = 0) -> None:
        """Attributes, and content from `offset` on, are no longer so."""
        self._metrics.invalidations["inode"] += 1
        self._send(inval_inode(nodeid, offset))

    def entry_later(self, parent: int, name: bytes) -> None:
        """Like entry, from the notifier's thread."""
        self._metrics.invalidations["entry"] += 1
        self._later.put(inval_entry(parent, name))

    def inode_later(self, nodeid: int) -> None:
        """Like inode, from the notifier's thread."""
        self._metrics.invalidations["inode"] += 1
        self._later.put(inval_inode(nodeid))

    def run(self) -> None:
        """Send what was queued until the process ends."""
        while True:
            self._send(self._later.get())

    def _send(self, message: bytes) -> None:
        try:
            os.write(self._descriptor, message)
        except OSError as error:
            # ENOENT and ENOTDIR: the kernel holds nothing of the kind.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENODEV):
                _log.warning("notification refused", error=str(error))
