"""`current/`: the live tree."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from lighthouse_fuse_csi.nodes import Folder, SlowError
from lighthouse_fuse_csi.numbers import Area

if TYPE_CHECKING:
    from lighthouse_fuse_csi.nodes import Listing, Node
    from lighthouse_fuse_csi.project import Project
    from lighthouse_fuse_csi.versions import Versions


class Current:
    """The project as it is now, and replaced versions that are still open."""

    area = Area.CURRENT

    def __init__(self, project: Project, versions: Versions, wait_seconds: float) -> None:
        self._versions = versions
        self.root: Folder = Gate(project, project.tree.root, wait_seconds)
        # Whoever asks by number meets the gate too.
        project.tree.nodes[self.root.nodeid] = self.root

    def node(self, nodeid: int, *, wait: bool) -> Node | None:
        """A replaced file; what the tree has now is found before."""
        del wait
        return self._versions.get(nodeid)


class Gate(Folder):
    """A root folder that is closed until the tree is loaded: an empty project would be a lie."""

    __slots__ = ("_folder", "_project", "_wait_seconds")

    def __init__(self, project: Project, folder: Folder, wait_seconds: float) -> None:
        super().__init__(folder.nodeid)
        self._project = project
        self._folder = folder
        self._wait_seconds = wait_seconds

    def attributes(self, *, wait: bool) -> bytes:
        return self._folder.attributes(wait=wait)

    def lookup(self, name: bytes, *, wait: bool) -> Node | None:
        return self._open(wait=wait).lookup(name, wait=wait)

    def listing(self, *, wait: bool) -> Listing:
        return self._open(wait=wait).listing(wait=wait)

    def _open(self, *, wait: bool) -> Folder:
        if not self._project.loaded.is_set():
            if not wait:
                raise SlowError
            if not self._project.loaded.wait(self._wait_seconds):
                raise OSError(errno.EIO, "the project is not loaded yet")
        return self._folder
