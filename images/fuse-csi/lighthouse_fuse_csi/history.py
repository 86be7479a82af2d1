"""`history/`: the tree as of any time, `history/2026-11-23T18:00:00Z/` and the like.

The last 24 full hours are listed; any other ISO-8601 time is found when it is asked for. A view's number is
part of its nodes' numbers and is kept on disk, so that it outlives the process. Trees are fetched on first use
and dropped, least recently used first, when there are too many.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import structlog

from lighthouse_fuse_csi import journal
from lighthouse_fuse_csi.nodes import FOLDER_MODE, Folder, Listing, Node, SlowError
from lighthouse_fuse_csi.numbers import VIEWS, Area, number, view_number, view_of
from lighthouse_fuse_csi.protocol import attributes
from lighthouse_fuse_csi.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.contents import Contents
    from lighthouse_fuse_csi.notifier import Notifier

_log = structlog.get_logger()
_HOURS = 24
_LONGEST_NAME = 40
# Files of all loaded views together; the view in use stays whatever its size.
_FILES = 100_000


class History:
    """Views by name and by number."""

    area = Area.HISTORY

    def __init__(
        self, folder: Path, bridge: Bridge, contents: Contents, notifier: Notifier, kept: int
    ) -> None:
        self._path = folder / "history"
        self._bridge = bridge
        self._contents = contents
        self._notifier = notifier
        self._kept = kept
        self._lock = Lock()
        document = journal.load(self._path)
        try:
            self._numbers = msgspec.msgpack.decode(document or b"\x80", type=dict[str, int])
        except msgspec.DecodeError:
            self._numbers = {}
        self._views = {view: View(view, name, self) for name, view in self._numbers.items()}
        self._trees: dict[int, Tree] = {}
        self.root: Folder = HistoryRoot(self)

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A node of a view, or the root."""
        if nodeid == self.root.nodeid:
            return self.root
        view = self._views.get(view_of(nodeid))
        if view is None or nodeid == view.nodeid:
            return view
        return self.tree(view, wait=wait).nodes.get(nodeid)

    def view(self, name: str) -> View | None:
        """The view of this name; None when the name is no time or lies ahead."""
        known = self._numbers.get(name)
        if known is not None:
            return self._views[known]
        moment = read_time(name)
        if moment is None or moment > datetime.now(UTC):
            return None
        with self._lock:
            known = self._numbers.get(name)
            if known is None:
                known = self._new_number(name)
                self._views[known] = View(known, name, self)
            return self._views[known]

    def tree(self, view: View, *, wait: bool) -> Tree:
        """The tree of a view; raises SlowError, BridgeError."""
        tree = self._trees.get(view.number)
        if tree is None:
            if not wait:
                raise SlowError
            manifest = self._bridge.manifest(view.name)
            tree = Tree(lambda key: view_number(view.number, key), self._contents, root=view.nodeid)
            tree.update(manifest.files)
            with self._lock:
                self._trees[view.number] = tree
                self._shrink()
        view.used = time.monotonic()
        return tree

    def _shrink(self) -> None:
        while len(self._trees) > 1:
            files = sum(len(tree.files) for tree in self._trees.values())
            if len(self._trees) <= self._kept and files <= _FILES:
                return
            oldest = min(self._trees, key=lambda each: self._views[each].used)
            del self._trees[oldest]

    def _new_number(self, name: str) -> int:
        """A number for a new view; when all are in use, that of the one named first."""
        # The last number stands for the root folder.
        if len(self._numbers) < VIEWS - 1:
            view = len(self._numbers)
        else:
            oldest = next(iter(self._numbers))
            view = self._numbers.pop(oldest)
            self._trees.pop(view, None)
            self._notifier.entry_later(self.root.nodeid, oldest.encode())
        self._numbers[name] = view
        try:
            journal.save(self._path, msgspec.msgpack.encode(self._numbers))
        except OSError as error:
            _log.warning("views of history are not kept over a restart", error=str(error))
        return view


class HistoryRoot(Folder):
    """Lists the last full hours."""

    __slots__ = ("_history",)
    attr_seconds = 5

    def __init__(self, history: History) -> None:
        super().__init__(number(Area.HISTORY, b"root") | (VIEWS - 1) << 48)
        self._history = history

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, FOLDER_MODE, 0, int(_hour().timestamp()) * 1_000_000, 2 + _HOURS)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        del wait
        try:
            return self._history.view(name.decode())
        except UnicodeDecodeError:
            return None

    def listing(self, *, wait: bool) -> Listing:
        del wait
        hour = _hour()
        names = [(hour - timedelta(hours=each)).strftime("%Y-%m-%dT%H:%M:%SZ") for each in range(_HOURS)]
        views = [(name.encode(), self._history.view(name)) for name in names]
        return Listing(self.nodeid, [(name, view) for name, view in views if view is not None])

    def absent_seconds(self) -> int:
        return 0


class View(Folder):
    """The root folder of one view."""

    __slots__ = ("_history", "_mtime_us", "name", "number", "used")

    def __init__(self, view: int, name: str, history: History) -> None:
        super().__init__(view_number(view, b"root"))
        self.number = view
        self.name = name
        self.used = 0.0
        self._history = history
        moment = read_time(name)
        self._mtime_us = int(moment.timestamp()) * 1_000_000 if moment else 0

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        # One link says that the number of folders in it is not known; the tree need not be fetched for it.
        return attributes(self.nodeid, FOLDER_MODE, 0, self._mtime_us, 1)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        return self._history.tree(self, wait=wait).root.lookup(name, wait=wait)

    def listing(self, *, wait: bool) -> Listing:
        return self._history.tree(self, wait=wait).root.listing(wait=wait)


def read_time(text: str) -> datetime | None:
    """An ISO-8601 time with date and hour at least; without an offset it is UTC. None when it is none."""
    if len(text) > _LONGEST_NAME or "T" not in text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
