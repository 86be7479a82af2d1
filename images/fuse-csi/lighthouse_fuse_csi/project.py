"""The live project: the tree in memory, its copy on disk, and how the bridge's events change both."""

from __future__ import annotations

import stat
import time
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING

import msgspec
import structlog

from lighthouse_fuse_csi import journal
from lighthouse_fuse_csi.bridge import Entry  # noqa: TC001 (msgspec reads the annotations)
from lighthouse_fuse_csi.journal import Journal
from lighthouse_fuse_csi.nodes import PROGRAM_MODE
from lighthouse_fuse_csi.numbers import Area, number
from lighthouse_fuse_csi.tree import Change, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lighthouse_fuse_csi.bridge import Manifest
    from lighthouse_fuse_csi.contents import Contents
    from lighthouse_fuse_csi.versions import Versions

_log = structlog.get_logger()
_JOURNAL_BYTES = 4 << 20


class _FileData(msgspec.Struct):
    path: str
    content_hash: str | None = None
    size: int | None = None
    kind: str | None = None
    executable: bool | None = None


class FileEvent(msgspec.Struct):
    """What a file event says about the tree."""

    sequence: int
    event_type: str
    timestamp: str
    data: _FileData


class _Saved(msgspec.Struct):
    sequence: int
    files: list[Entry]
    salts: dict[bytes, int]


class _Step(msgspec.Struct, array_like=True):
    sequence: int
    entries: list[Entry]
    removed: list[tuple[str, int]]


class Project:
    """The tree as of one sequence number."""

    def __init__(self, folder: Path, contents: Contents, versions: Versions) -> None:
        self.tree = Tree(lambda key: number(Area.CURRENT, key), contents)
        self.sequence = 0
        self.loaded = Event()
        self._contents = contents
        self._versions = versions
        self._path = folder / "tree"
        self._journal = Journal(folder / "tree.journal")

    def restore(self) -> bool:
        """Take up the tree that an earlier process kept; tells whether there was one."""
        document = journal.load(self._path)
        if document is None:
            return False
        try:
            saved = msgspec.msgpack.decode(document, type=_Saved)
            steps = [msgspec.msgpack.decode(each, type=_Step) for each in self._journal.records]
        except msgspec.DecodeError as error:
            _log.warning("the saved tree is unreadable and is fetched anew", error=str(error))
            return False
        self._journal.records = []
        self.tree.salts = saved.salts
        self.tree.update(saved.files)
        self.sequence = saved.sequence
        for step in steps:
            if step.sequence > self.sequence:
                self.tree.settle(self.tree.update(step.entries, step.removed))
                self.sequence = step.sequence
        self.tree.live = True
        self.loaded.set()
        return True

    def synchronize(self, manifest: Manifest, announce: Callable[[Change], None]) -> Change:
        """Become equal to the manifest; `announce` tells the kernel before the new state is saved."""
        now = int(time.time() * 1_000_000)
        wanted = {entry[0] for entry in manifest.files}
        removed = [(path, now) for path in self.tree.files if path not in wanted]
        change = self.tree.update(manifest.files, removed)
        self.tree.live = True
        self._settle(change, announce)
        self.sequence = manifest.sequence
        self._save()
        self.loaded.set()
        return change

    def apply(
        self, events: Iterable[FileEvent], announce: Callable[[Change], None]
    ) -> list[tuple[bytes, int]]:
        """Take file events in, in order; returns the contents that came with them, as digest and size."""
        entries: dict[str, Entry] = {}
        removed: dict[str, int] = {}
        last = self.sequence
        for event in events:
            if event.sequence <= last:
                continue
            last = event.sequence
            mtime_us = microseconds(event.timestamp)
            data = event.data
            # Order matters within a path only: the last word about it counts.
            entries.pop(data.path, None)
            removed.pop(data.path, None)
            if event.event_type == "file_deleted":
                removed[data.path] = mtime_us
            elif data.content_hash is not None:
                entries[data.path] = self._entry(data, data.content_hash, mtime_us)
        if last == self.sequence:
            return []
        change = self.tree.update(entries.values(), removed.items())
        self._settle(change, announce)
        self.sequence = last
        step = _Step(last, list(entries.values()), list(removed.items()))
        try:
            if self._journal.size > _JOURNAL_BYTES:
                self._save()
            else:
                self._journal.append([msgspec.msgpack.encode(step)])
        except OSError as error:
            _log.warning("the tree is not kept over a restart", error=str(error))
        return [(bytes.fromhex(entry[4]), entry[3]) for entry in entries.values()]

    def _entry(self, data: _FileData, digest: str, mtime_us: int) -> Entry:
        known = self.tree.files.get(data.path)
        kind = data.kind or ("symlink" if known and stat.S_ISLNK(known.mode) else "file")
        executable = data.executable
        if executable is None:
            executable = known is not None and known.mode == PROGRAM_MODE
        return (data.path, kind, executable, data.size or 0, digest, mtime_us)

    def _settle(self, change: Change, announce: Callable[[Change], None]) -> None:
        self._versions.keep(change.replaced)
        self.tree.settle(change)
        announce(change)

    def _save(self) -> None:
        saved = _Saved(self.sequence, self.tree.entries(), self.tree.salts)
        try:
            journal.save(self._path, msgspec.msgpack.encode(saved))
            self._journal.replace([])
        except OSError as error:
            _log.warning("the tree is not kept over a restart", error=str(error))


def microseconds(timestamp: str) -> int:
    """Microseconds since the epoch of an ISO-8601 time with offset; raises ValueError."""
    moment = datetime.fromisoformat(timestamp)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + moment.microsecond
