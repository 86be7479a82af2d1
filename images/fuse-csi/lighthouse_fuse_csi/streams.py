"""`streams/`: what happens in the project, as JSON lines in regular files that grow."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import structlog

from lighthouse_fuse_csi.nodes import FILE_MODE, File, FixedFolder
from lighthouse_fuse_csi.numbers import Area, number
from lighthouse_fuse_csi.protocol import attributes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lighthouse_fuse_csi.follower import BridgeEvent
    from lighthouse_fuse_csi.nodes import Content, Folder, Node
    from lighthouse_fuse_csi.notifier import Notifier
    from lighthouse_fuse_csi.tree import Change

_log = structlog.get_logger()
NAMES = (
    "validation_requests",
    "expert_responses",
    "pair_sessions",
    "file_changes",
    "agent_activities",
    "debug_events",
)
# The first prefix that fits decides; what fits none is a debug event.
_PREFIXES = (
    ("command_", "validation_requests"),
    ("validation_", "validation_requests"),
    ("expert_agent_", "expert_responses"),
    ("shadow_annotation_", "expert_responses"),
    ("pair_", "pair_sessions"),
    ("file_", "file_changes"),
    ("directory_", "file_changes"),
    ("shadow_", "file_changes"),
    ("agent_", "agent_activities"),
)


_TAIL = 2 << 20


class Spool:
    """A file of lines on disk. It is emptied when it would pass its limit, as logrotate's copytruncate does."""

    def __init__(self, path: Path, limit: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._limit = limit
        data = path.read_bytes()
        self.size = data.rfind(b"\n") + 1
        if self.size != len(data):
            os.ftruncate(self._descriptor, self.size)
        self.mtime_us = os.fstat(self._descriptor).st_mtime_ns // 1000

    def append(self, data: bytes) -> int:
        """Add whole lines; returns from which offset on the file is different now."""
        changed_from = self.size
        if len(data) > self._limit:
            # Of more than fits, the last whole lines.
            start = len(data) - self._limit
            data = data[data.index(b"\n", start - 1) + 1 :]
        try:
            if self.size + len(data) > self._limit:
                os.ftruncate(self._descriptor, 0)
                changed_from = self.size = 0
            written = os.write(self._descriptor, data)
            if written != len(data):
                os.ftruncate(self._descriptor, self.size)
                return changed_from
        except OSError as error:
            _log.warning("lines lost", error=str(error))
            return changed_from
        self.size += len(data)
        self.mtime_us = time.time_ns() // 1000
        return changed_from

    def read(self, offset: int, size: int) -> bytes:
        """What lies there; never beyond the last whole line."""
        return os.pread(self._descriptor, max(0, min(size, self.size - offset)), offset)


class SpoolFile(File):
    """A spool in the tree; `last` is the sequence of its last event, as far as this process knows."""

    __slots__ = ("_notifier", "last", "spool")

    def __init__(self, area: Area, path: Path, limit: int, notifier: Notifier) -> None:
        super().__init__(number(area, b"f" + path.name.encode()))
        self.spool = Spool(path, limit)
        self.last = _last_sequence(self.spool)
        self._notifier = notifier

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, FILE_MODE, self.spool.size, self.spool.mtime_us)

    def read(self, offset: int, size: int, *, wait: bool) -> Content:
        del wait
        return self.spool.read(offset, size)

    def append(self, lines: Iterable[bytes]) -> None:
        """Add lines, and tell the kernel."""
        self._notifier.inode(self.nodeid, self.spool.append(b"".join(line + b"\n" for line in lines)))


class Streams:
    """The six streams."""

    area = Area.STREAMS

    def __init__(self, folder: Path, limit: int, notifier: Notifier) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._notifier = notifier
        self._files = {name: SpoolFile(Area.STREAMS, folder / name, limit, notifier) for name in NAMES}
        members: dict[bytes, Node] = {name.encode(): file for name, file in self._files.items()}
        self.root: Folder = FixedFolder(number(Area.STREAMS, b"root"), members)
        self._nodes: dict[int, Node] = {file.nodeid: file for file in self._files.values()}
        self._nodes[self.root.nodeid] = self.root
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._seen_descriptor = os.open(folder / ".seen", flags, 0o600)
        data = os.pread(self._seen_descriptor, 8, 0)
        # The last event taken in; None when there was none yet.
        self.seen = int.from_bytes(data, "little") if len(data) == 8 else None

    def rewind(self, sequence: int) -> None:
        """Begin again after this event: the bridge counts anew."""
        for file in self._files.values():
            file.last = min(file.last, sequence)
        self._see(sequence)

    def _see(self, sequence: int) -> None:
        self.seen = sequence
        os.pwrite(self._seen_descriptor, sequence.to_bytes(8, "little"), 0)

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A stream or the root."""
        del wait
        return self._nodes.get(nodeid)

    def announce(self) -> None:
        """Make the kernel look again at what an earlier process may have written and not told."""
        for file in self._files.values():
            self._notifier.inode(file.nodeid)

    def tree_changed(self, change: Change) -> None:
        """Nothing: the events themselves are what is shown."""

    def happened(self, events: list[tuple[BridgeEvent, bytes]]) -> None:
        """Add each event to its stream."""
        lines: dict[str, list[bytes]] = {}
        for event, line in events:
            name = stream_of(event.event_type)
            # After a crash some streams hold more than others.
            if event.sequence > self._files[name].last:
                self._files[name].last = event.sequence
                lines.setdefault(name, []).append(line)
        for name, new in lines.items():
            self._files[name].append(new)
        self._see(events[-1][0].sequence)


def _last_sequence(spool: Spool) -> int:
    """The sequence of the last event in a spool; 0 when there is none."""
    tail = spool.read(max(0, spool.size - _TAIL), _TAIL).splitlines()
    if not tail:
        return 0
    found = re.match(rb'\{"sequence":\s*(\d+)', tail[-1])
    return int(found[1]) if found else 0


def stream_of(event_type: str) -> str:
    """The stream that shows events of this type."""
    for prefix, name in _PREFIXES:
        if event_type.startswith(prefix):
            return name
    return "debug_events"
