"""The whole file system: the root folder, and who answers for which node number."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from lighthouse_fuse_csi.nodes import FixedFolder
from lighthouse_fuse_csi.numbers import area_of
from lighthouse_fuse_csi.protocol import ROOT

if TYPE_CHECKING:
    from lighthouse_fuse_csi.nodes import Folder, Node
    from lighthouse_fuse_csi.numbers import Area
    from lighthouse_fuse_csi.project import Project


class Part(Protocol):
    """A folder of the root with what lies below it."""

    area: Area
    root: Folder

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """The node of this number; raises SlowError, OSError."""


class System:
    """All parts together."""

    def __init__(self, project: Project, parts: list[Part]) -> None:
        self._project = project
        self._parts: dict[int, Part] = {int(part.area): part for part in parts}
        self._root = FixedFolder(ROOT, {part.area.name.lower().encode(): part.root for part in parts})
        # The project's own nodes are asked for most, hence found first.
        self._nodes = project.tree.nodes

    def node(self, nodeid: int, *, wait: bool) -> Node:
        """The node of this number; raises SlowError, OSError."""
        node = self._nodes.get(nodeid)
        if node is not None:
            return node
        if nodeid == ROOT:
            return self._root
        part = self._parts.get(area_of(nodeid))
        found = part.node(nodeid, wait=wait) if part else None
        if found is None:
            raise OSError(errno.ESTALE, f"node {nodeid:x} is gone")
        return found

    def statistics(self) -> tuple[int, int]:
        """Number of files and bytes of the project."""
        tree = self._project.tree
        return len(tree.files) + len(tree.folders), tree.bytes
