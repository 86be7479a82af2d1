"""Follows the bridge: first the whole tree, then every event, for as long as the process lives."""

from __future__ import annotations

import time
from threading import Thread
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from lighthouse_fuse_csi.bridge import BridgeError
from lighthouse_fuse_csi.project import FileEvent
from lighthouse_fuse_csi.protocol import ROOT

if TYPE_CHECKING:
    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.contents import Prefetch
    from lighthouse_fuse_csi.fuse_metrics import Metrics
    from lighthouse_fuse_csi.notifier import Notifier
    from lighthouse_fuse_csi.project import Project
    from lighthouse_fuse_csi.streams import Streams
    from lighthouse_fuse_csi.tree import Change

_log = structlog.get_logger()
_LONGEST_PAUSE = 5.0
# How many events before the present one a new reader of streams/ finds there.
_BACKLOG = 1000
FILE_EVENTS = frozenset({"file_created", "file_modified", "file_deleted"})


class BridgeEvent(msgspec.Struct):
    """Any line of the event stream; heartbeats have no type."""

    sequence: int
    event_type: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class Listener(Protocol):
    """A part of the file system that wants to know what happens."""

    def tree_changed(self, change: Change) -> None:
        """The tree has changed; the kernel knows it already of `current/`."""

    def happened(self, events: list[tuple[BridgeEvent, bytes]]) -> None:
        """These events came, in order, each with its line."""


class Follower(Thread):
    """The one thread that changes the tree."""

    def __init__(
        self,
        bridge: Bridge,
        project: Project,
        prefetch: Prefetch,
        notifier: Notifier,
        streams: Streams,
        metrics: Metrics,
    ) -> None:
        super().__init__(name="follower", daemon=True)
        self._bridge = bridge
        self._project = project
        self._prefetch = prefetch
        self._notifier = notifier
        self._metrics = metrics
        self._streams = streams
        self._listeners: list[Listener] = []
        self._decoder = msgspec.json.Decoder(BridgeEvent)
        self._file_decoder = msgspec.json.Decoder(FileEvent)

    def tell(self, listener: Listener) -> None:
        """Let this part know what happens."""
        self._listeners.append(listener)

    def run(self) -> None:
        """Follow, and begin again after each fault, with growing pauses."""
        pause = 0.1
        while True:
            started = time.monotonic()
            try:
                self._follow()
            except BridgeError as error:
                _log.warning("the bridge is not followed", error=str(error))
            except Exception:
                _log.exception("following failed")
            if time.monotonic() - started > 30:
                pause = 0.1
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _follow(self) -> None:
        manifest = self._bridge.manifest()
        first = not self._project.loaded.is_set()
        self._project.synchronize(manifest, self._announce_first if first else self._announce)
        _log.info("tree loaded", files=len(manifest.files), sequence=manifest.sequence)
        self._prefetch.want((bytes.fromhex(entry[4]), entry[3]) for entry in manifest.files)
        seen = self._streams.seen
        if seen is None:
            seen = max(0, manifest.sequence - _BACKLOG)
            self._streams.rewind(seen)
        elif seen > manifest.sequence:
            seen = manifest.sequence
            self._streams.rewind(seen)
        rest = b""
        for chunk in self._bridge.events(seen):
            self._metrics.last_event = time.time()
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            self._take(lines)

    def _take(self, lines: list[bytes]) -> None:
        files: list[FileEvent] = []
        events: list[tuple[BridgeEvent, bytes]] = []
        for line in lines:
            if not line.strip():
                continue
            try:
                event = self._decoder.decode(line)
                if not event.event_type or event.sequence <= (self._streams.seen or 0):
                    continue
                if event.event_type in FILE_EVENTS:
                    files.append(self._file_decoder.decode(line))
            except msgspec.DecodeError as error:
                raise BridgeError(5, f"The event stream is unreadable: {error}") from error
            events.append((event, line))
        if files:
            self._prefetch.want(self._project.apply(files, self._announce))
        if events:
            # The streams come last: what they have seen is not asked for again.
            for listener in (*self._listeners, self._streams):
                listener.happened(events)

    def _announce(self, change: Change) -> None:
        for parent, name in change.entries:
            self._notifier.entry(parent, name)
        # After the names: a listing under way keeps the lock that the names wait for.
        for nodeid in change.folders:
            self._notifier.inode(nodeid)
        for listener in self._listeners:
            listener.tree_changed(change)

    def _announce_first(self, change: Change) -> None:
        """What the kernel may hold of an earlier process is unknown: it forgets the whole trees."""
        del change
        self._notifier.entry(ROOT, b"current")
        self._notifier.inode(self._project.tree.root.nodeid)
        self._notifier.entry_later(ROOT, b"shadows")
