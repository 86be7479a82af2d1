"""`shadows/`: the same tree, each file as the JSON document that the bridge makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from lighthouse_fuse_csi.current import Gate
from lighthouse_fuse_csi.nodes import FILE_MODE, Folder, Listing, Node, SlowError
from lighthouse_fuse_csi.numbers import Area, moved, number
from lighthouse_fuse_csi.project import microseconds
from lighthouse_fuse_csi.protocol import attributes
from lighthouse_fuse_csi.tree import TreeFolder

if TYPE_CHECKING:
    from lighthouse_fuse_csi.bridge import Bridge
    from lighthouse_fuse_csi.follower import BridgeEvent
    from lighthouse_fuse_csi.notifier import Notifier
    from lighthouse_fuse_csi.project import Project
    from lighthouse_fuse_csi.tree import Change
    from lighthouse_fuse_csi.versions import Versions


class _Stamp(msgspec.Struct):
    generated_at: str = ""


class _Annotation(msgspec.Struct):
    file_path: str = ""


class Unread(Node):
    """A file in a listing whose document nobody has asked for."""

    __slots__ = ()
    mode = FILE_MODE

    def listed(self) -> bytes | None:
        return None


class Shadows:
    """Documents by path; made anew when the file or its annotations change."""

    area = Area.SHADOWS

    def __init__(
        self, project: Project, versions: Versions, bridge: Bridge, notifier: Notifier, wait_seconds: float
    ) -> None:
        self._project = project
        self._versions = versions
        self._bridge = bridge
        self._notifier = notifier
        self._documents: dict[str, Node] = {}
        self._stamps: dict[str, int] = {}
        self.root: Folder = Gate(project, ShadowFolder(project.tree.root, self), wait_seconds)

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A document seen before, or a folder."""
        del wait
        if nodeid == self.root.nodeid:
            return self.root
        folder = self._project.tree.nodes.get(moved(nodeid, Area.CURRENT))
        if isinstance(folder, TreeFolder):
            return ShadowFolder(folder, self)
        return self._versions.get(nodeid)

    def document(self, path: str, *, wait: bool) -> Node:
        """The document of a file; raises SlowError, BridgeError."""
        known = self._documents.get(path)
        if known is not None:
            return known
        if not wait:
            raise SlowError
        stamp = self._stamps.get(path)
        source = f"document:{path}"
        body = self._bridge.fetch(source)
        document = self._versions.add(Area.SHADOWS, source, body, _mtime(body))
        # A change that came meanwhile may be missing in it: then it is not the document of the next reader.
        if self._stamps.get(path) == stamp:
            self._documents[path] = document
        return document

    def tree_changed(self, change: Change) -> None:
        """Make documents of changed files anew."""
        for nodeid, name in change.entries:
            above = change.folders[nodeid].path
            self._renew(f"{above}/{name.decode()}" if above else name.decode())
            self._notifier.entry_later(moved(nodeid, Area.SHADOWS), name)
        for nodeid in change.folders:
            self._notifier.inode_later(moved(nodeid, Area.SHADOWS))

    def happened(self, events: list[tuple[BridgeEvent, bytes]]) -> None:
        """Make documents of annotated files anew."""
        for event, _ in events:
            if event.event_type.startswith("shadow_annotation_"):
                path = msgspec.json.decode(event.data, type=_Annotation).file_path
                above, _, name = path.rpartition("/")
                folder = self._project.tree.folders.get(above)
                self._renew(path)
                if folder is not None:
                    self._notifier.entry_later(moved(folder.nodeid, Area.SHADOWS), name.encode())

    def _renew(self, path: str) -> None:
        self._stamps[path] = self._stamps.get(path, 0) + 1
        self._documents.pop(path, None)


class ShadowFolder(Folder):
    """The like of a folder of `current/`."""

    __slots__ = ("_folder", "_shadows")

    def __init__(self, folder: TreeFolder, shadows: Shadows) -> None:
        super().__init__(moved(folder.nodeid, Area.SHADOWS))
        self._folder = folder
        self._shadows = shadows

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, self.mode, 0, self._folder.mtime_us, 2 + self._folder.folders)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        child = self._folder.children.get(name)
        if child is None:
            return None
        if isinstance(child, TreeFolder):
            return ShadowFolder(child, self._shadows)
        above = self._folder.path
        return self._shadows.document(f"{above}/{name.decode()}" if above else name.decode(), wait=wait)

    def listing(self, *, wait: bool) -> Listing:
        del wait
        return Listing(
            self.nodeid,
            [
                (
                    name,
                    ShadowFolder(child, self._shadows)
                    if isinstance(child, TreeFolder)
                    else Unread(number(Area.SHADOWS, b"%d/%b" % (self.nodeid, name))),
                )
                for name, child in list(self._folder.children.items())
            ],
        )


def _mtime(body: bytes) -> int:
    try:
        return microseconds(msgspec.json.decode(body, type=_Stamp).generated_at)
    except (msgspec.DecodeError, ValueError):
        return 0
