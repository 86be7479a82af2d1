"""What a FUSE request can be about: folders and files, as the server sees them.

A handler that would have to wait for the bridge raises `Slow` unless told that it may wait; the server then
runs it again on a worker thread. File content is fixed for a node's whole life: a changed file is a new node,
so a reader never meets two versions in one file and the kernel may cache without limit.
"""

from __future__ import annotations

import stat
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING

from lighthouse_fuse_csi.protocol import DIRENT, ENTRY_OUT, attributes

if TYPE_CHECKING:
    from collections.abc import Iterable

FOREVER = 30 * 86400
FILE_MODE, PROGRAM_MODE = stat.S_IFREG | 0o444, stat.S_IFREG | 0o555
LINK_MODE, FOLDER_MODE = stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o555
Content = bytes | memoryview


class SlowError(Exception):
    """The answer needs the bridge; ask again where waiting is allowed."""


class Node:
    """Something with a number and attributes; the kernel may keep both for the seconds given."""

    __slots__ = ("nodeid",)
    entry_seconds = FOREVER
    attr_seconds = FOREVER
    mode = FILE_MODE

    def __init__(self, nodeid: int) -> None:
        self.nodeid = nodeid

    def attributes(self, *, wait: bool) -> bytes:
        """fuse_attr; raises SlowError, OSError."""
        raise NotImplementedError

    def entry(self, *, wait: bool) -> bytes:
        """fuse_entry_out; raises SlowError, OSError."""
        attr = self.attributes(wait=wait)
        return ENTRY_OUT.pack(self.nodeid, 0, self.entry_seconds, self.attr_seconds, 0, 0) + attr

    def listed(self) -> bytes | None:
        """fuse_entry_out for a listing with attributes, or None to let the kernel ask when it wants them."""
        return self.entry(wait=False)


class File(Node):
    """Fixed content."""

    __slots__ = ()

    def read(self, offset: int, size: int, *, wait: bool) -> Content:
        """At most `size` bytes from `offset` on; raises SlowError, OSError."""
        raise NotImplementedError


class Folder(Node):
    """Named nodes."""

    __slots__ = ()
    mode = FOLDER_MODE

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        """The node of this name, None when there is none; raises SlowError, OSError."""
        raise NotImplementedError

    def listing(self, *, wait: bool) -> Listing:
        """All names; raises SlowError, OSError."""
        raise NotImplementedError

    def absent_seconds(self) -> int:
        """How long the kernel may take it for granted that a name is not here."""
        return FOREVER


class FixedFolder(Folder):
    """A folder whose members never change while the process lives."""

    __slots__ = ("_listing", "_members", "_mtime_us")

    def __init__(self, nodeid: int, members: dict[bytes, Node], mtime_us: int = 0) -> None:
        super().__init__(nodeid)
        self._members = members
        self._mtime_us = mtime_us
        self._listing: Listing | None = None

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        folders = sum(isinstance(node, Folder) for node in self._members.values())
        return attributes(self.nodeid, FOLDER_MODE, 0, self._mtime_us, 2 + folders)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        del wait
        return self._members.get(name)

    def listing(self, *, wait: bool) -> Listing:
        del wait
        if self._listing is None:
            self._listing = Listing(self.nodeid, ((name, node) for name, node in self._members.items()))
        return self._listing


class Listing:
    """The names of a folder, ready to be cut into answers.

    A position is made from a name alone, so that it means the same after any change and in any process.
    """

    __slots__ = ("_ends", "_items", "_plus", "_plus_ends", "_positions", "_simple")

    def __init__(self, nodeid: int, members: Iterable[tuple[bytes, Node]]) -> None:
        hashed = sorted((zlib.crc32(name), name, node) for name, node in members)
        self._items: list[tuple[bytes, int, int, Node | None]] = [
            (b".", nodeid, stat.S_IFDIR, None),
            (b"..", nodeid, stat.S_IFDIR, None),
        ]
        self._positions = [1, 2]
        last = 0
        for crc, name, node in hashed:
            # Names with the same hash lie side by side and take the next free position.
            last = max((crc + 1) << 16, last + 1)
            self._positions.append(last)
            self._items.append((name, node.nodeid, node.mode, node))
        self._simple: bytes | None = None
        self._plus: bytes | None = None
        self._ends: list[int] = []
        self._plus_ends: list[int] = []

    def simple(self, position: int, size: int) -> Content:
        """fuse_dirent records after `position`, at most `size` bytes."""
        if self._simple is None:
            self._simple, self._ends = self._build(plus=False)
        return self._cut(self._simple, self._ends, position, size)

    def plus(self, position: int, size: int) -> Content:
        """fuse_direntplus records after `position`, at most `size` bytes."""
        if self._plus is None:
            self._plus, self._plus_ends = self._build(plus=True)
        return self._cut(self._plus, self._plus_ends, position, size)

    def _build(self, *, plus: bool) -> tuple[bytes, list[int]]:
        nothing = bytes(128)
        parts, ends, end = [], [], 0
        for (name, nodeid, mode, node), position in zip(self._items, self._positions, strict=True):
            length = len(name)
            record = DIRENT.pack(nodeid, position, length, mode >> 12) + name + bytes(-length % 8)
            if plus:
                record = ((node.listed() if node else None) or nothing) + record
            parts.append(record)
            end += len(record)
            ends.append(end)
        return b"".join(parts), ends

    def _cut(self, data: bytes, ends: list[int], position: int, size: int) -> Content:
        index = bisect_right(self._positions, position)
        start = ends[index - 1] if index else 0
        last = bisect_right(ends, start + size)
        return memoryview(data)[start : ends[last - 1]] if last > index else b""
