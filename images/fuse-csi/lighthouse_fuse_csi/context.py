"""`context/`: the packages that the bridge made for experts, each a folder of three JSON files."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

from lighthouse_fuse_csi.bridge import BridgeError
from lighthouse_fuse_csi.nodes import FOLDER_MODE, Folder, Listing, Node, SlowError
from lighthouse_fuse_csi.numbers import Area, number
from lighthouse_fuse_csi.project import microseconds
from lighthouse_fuse_csi.protocol import attributes
from lighthouse_fuse_csi.shadows import Unread

if TYPE_CHECKING:
    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.versions import Versions

PARTS = ("manifest", "files", "context")
_FRESH_SECONDS = 1.0
_KEPT = 4096


class Context:
    """Packages by name. A package never changes; which there are is asked at most once a second."""

    area = Area.CONTEXT

    def __init__(self, bridge: Bridge, versions: Versions) -> None:
        self._bridge = bridge
        self._versions = versions
        self._packages: dict[str, Package] = {}
        self._by_nodeid: dict[int, Package] = {}
        self._asked_at = -_FRESH_SECONDS
        self.listed: list[Package] = []
        self.mtime_us = 0
        self.root: Folder = ContextRoot(self)

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A package, one of its files, or the root."""
        if nodeid == self.root.nodeid:
            return self.root
        found = self._by_nodeid.get(nodeid) or self._versions.get(nodeid)
        if found is None:
            # A package folder that an earlier process showed: the list brings it back.
            self.refresh(wait=wait)
            found = self._by_nodeid.get(nodeid)
        return found

    def refresh(self, *, wait: bool) -> None:
        """Bring the list up to date; what was listed stays when the bridge is away. Raises SlowError."""
        if time.monotonic() - self._asked_at < _FRESH_SECONDS:
            return
        if not wait:
            raise SlowError
        try:
            packages = self._bridge.packages()
        except BridgeError:
            packages = None
        self._asked_at = time.monotonic()
        if packages is None:
            return
        self.listed = [self._know(each.id, each.created_at) for each in packages if _usable(each.id)]
        self.mtime_us = max((package.mtime_us for package in self.listed), default=0)

    def find(self, name: str, *, wait: bool) -> Package | None:
        """The package of this name, listed or not; raises SlowError, BridgeError."""
        if not _usable(name):
            return None
        self.refresh(wait=wait)
        known = self._packages.get(name)
        if known is not None:
            return known
        if not wait:
            raise SlowError
        try:
            self._bridge.package(name, PARTS[0])
        except BridgeError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._know(name, "")

    def part(self, package: Package, part: str) -> Node:
        """One file of a package; raises BridgeError."""
        source = f"package:{package.name}/{part}"
        return self._versions.add(Area.CONTEXT, source, self._bridge.fetch(source), package.mtime_us)

    def _know(self, name: str, created_at: str) -> Package:
        package = self._packages.get(name)
        if package is None:
            try:
                mtime_us = microseconds(created_at)
            except ValueError:
                mtime_us = 0
            package = Package(name, mtime_us, self)
            self._packages[name] = package
            self._by_nodeid[package.nodeid] = package
            if len(self._packages) > _KEPT:
                oldest = self._packages.pop(next(iter(self._packages)))
                self._by_nodeid.pop(oldest.nodeid, None)
        return package


class ContextRoot(Folder):
    """Lists the packages."""

    __slots__ = ("_context",)
    attr_seconds = 1

    def __init__(self, context: Context) -> None:
        super().__init__(number(Area.CONTEXT, b"root"))
        self._context = context

    def attributes(self, *, wait: bool) -> bytes:
        self._context.refresh(wait=wait)
        return attributes(self.nodeid, FOLDER_MODE, 0, self._context.mtime_us, 2 + len(self._context.listed))

    def listed(self) -> bytes | None:
        return None

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        return self._context.find(name.decode(errors="replace"), wait=wait)

    def listing(self, *, wait: bool) -> Listing:
        self._context.refresh(wait=wait)
        return Listing(self.nodeid, [(each.name.encode(), each) for each in self._context.listed])

    def absent_seconds(self) -> int:
        return 0


class Package(Folder):
    """One package."""

    __slots__ = ("_context", "_parts", "mtime_us", "name")

    def __init__(self, name: str, mtime_us: int, context: Context) -> None:
        super().__init__(number(Area.CONTEXT, b"d" + name.encode()))
        self.name = name
        self.mtime_us = mtime_us
        self._context = context
        self._parts: dict[str, Node] = {}

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, FOLDER_MODE, 0, self.mtime_us, 2)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        part = name.removesuffix(b".json").decode(errors="replace")
        if part not in PARTS or not name.endswith(b".json"):
            return None
        known = self._parts.get(part)
        if known is None:
            if not wait:
                raise SlowError
            known = self._parts[part] = self._context.part(self, part)
        return known

    def listing(self, *, wait: bool) -> Listing:
        del wait
        names = [f"{part}.json".encode() for part in PARTS]
        return Listing(
            self.nodeid,
            [(name, Unread(number(Area.CONTEXT, b"l%b/%b" % (self.name.encode(), name)))) for name in names],
        )


def _usable(name: str) -> bool:
    return 0 < len(name.encode()) <= 255 and "/" not in name and "\0" not in name and name not in (".", "..")
