"""`debug/`: how the file system itself does. Each look at a JSON file opens a snapshot that stays as it is."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from lighthouse_fuse_csi.nodes import FILE_MODE, File, Folder, Listing
from lighthouse_fuse_csi.numbers import Area, number
from lighthouse_fuse_csi.protocol import attributes
from lighthouse_fuse_csi.shadows import Unread
from lighthouse_fuse_csi.streams import SpoolFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lighthouse_fuse_csi.nodes import Content, Node
    from lighthouse_fuse_csi.notifier import Notifier

_LOG = b"operation_log.txt"
_FRESH_SECONDS = 1.0
_KEPT = 64


class Snapshot(File):
    """One state of a debug file; the name is asked again each time, the content never changes."""

    __slots__ = ("_content", "_mtime_us")
    entry_seconds = 0

    def __init__(self, nodeid: int, content: bytes, mtime_us: int) -> None:
        super().__init__(nodeid)
        self._content = content
        self._mtime_us = mtime_us

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, FILE_MODE, len(self._content), self._mtime_us)

    def read(self, offset: int, size: int, *, wait: bool) -> Content:
        del wait
        return self._content[offset : offset + size]


class Debug(Folder):
    """The folder, and the snapshots that may still be open. `makers` give each file's document by its name."""

    area = Area.DEBUG

    def __init__(
        self, folder: Path, makers: Mapping[str, Callable[[], object]], limit: int, notifier: Notifier
    ) -> None:
        super().__init__(number(Area.DEBUG, b"root"))
        self.root: Folder = self
        self._makers = {name.encode(): maker for name, maker in makers.items()}
        self._folder = folder / "debug"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._log = SpoolFile(Area.DEBUG, folder / _LOG.decode(), limit, notifier)
        self._latest: dict[bytes, tuple[float, Snapshot]] = {}
        self._snapshots: dict[int, Snapshot] = {}
        # The earlier process's snapshots: someone may have opened one and not read it yet.
        for path in sorted(self._folder.iterdir(), key=lambda each: each.stat().st_mtime_ns):
            nodeid = int(path.name, 16)
            mtime_us = path.stat().st_mtime_ns // 1000
            self._snapshots[nodeid] = Snapshot(nodeid, path.read_bytes(), mtime_us)

    def note(self, text: str) -> None:
        """Add a line to the operation log."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._log.append([f"{moment} {text}".encode()])

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A snapshot, the log, or the folder."""
        del wait
        if nodeid == self.nodeid:
            return self
        return self._log if nodeid == self._log.nodeid else self._snapshots.get(nodeid)

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, self.mode, 0, 0, 2)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        del wait
        if name == _LOG:
            return self._log
        maker = self._makers.get(name)
        return maker and self._snapshot(name, maker)

    def listing(self, *, wait: bool) -> Listing:
        del wait
        members: list[tuple[bytes, Node]] = [
            (name, Unread(number(Area.DEBUG, b"l" + name))) for name in self._makers
        ]
        return Listing(self.nodeid, [*members, (_LOG, self._log)])

    def _snapshot(self, name: bytes, maker: Callable[[], object]) -> Snapshot:
        now = time.monotonic()
        made_at, snapshot = self._latest.get(name, (0.0, None))
        if snapshot is not None and now - made_at < _FRESH_SECONDS:
            return snapshot
        content = msgspec.json.format(msgspec.json.encode(maker()), indent=2) + b"\n"
        stamp = time.time_ns()
        snapshot = Snapshot(number(Area.DEBUG, b"s%d,%b" % (stamp, name)), content, stamp // 1000)
        self._latest[name] = (now, snapshot)
        self._snapshots[snapshot.nodeid] = snapshot
        with contextlib.suppress(OSError):
            # On a full disk the snapshot only does not outlive this process.
            (self._folder / f"{snapshot.nodeid:x}").write_bytes(content)
        while len(self._snapshots) > _KEPT:
            oldest = next(iter(self._snapshots))
            del self._snapshots[oldest]
            (self._folder / f"{oldest:x}").unlink(missing_ok=True)
        return snapshot
