"""A project tree in memory: all folders and files of one manifest, and what one change does to it."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from lighthouse_fuse_csi.nodes import FILE_MODE, FOLDER_MODE, LINK_MODE, PROGRAM_MODE, File, Folder, Listing
from lighthouse_fuse_csi.protocol import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lighthouse_fuse_csi.bridge import Entry
    from lighthouse_fuse_csi.contents import Contents
    from lighthouse_fuse_csi.nodes import Content, Node


class ContentFile(File):
    """A file or symbolic link whose content is known by its hash."""

    __slots__ = ("contents", "digest", "mode", "mtime_us", "size")

    def __init__(
        self, nodeid: int, digest: bytes, size: int, mtime_us: int, mode: int, contents: Contents
    ) -> None:
        super().__init__(nodeid)
        self.digest = digest
        self.size = size
        self.mtime_us = mtime_us
        self.mode = mode
        self.contents = contents

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, self.mode, self.size, self.mtime_us)

    def read(self, offset: int, size: int, *, wait: bool) -> Content:
        return self.contents.get(self.digest, wait=wait)[offset : offset + size]


class TreeFolder(Folder):
    """A folder of the project; it exists because something lies in it."""

    __slots__ = ("_listing", "children", "folders", "mtime_us", "parent", "path")

    def __init__(self, nodeid: int, path: str, parent: TreeFolder | None, mtime_us: int) -> None:
        super().__init__(nodeid)
        self.path = path
        self.parent = parent
        self.mtime_us = mtime_us
        self.children: dict[bytes, ContentFile | TreeFolder] = {}
        self.folders = 0
        self._listing: tuple[int, Listing | None] = (0, None)

    def attributes(self, *, wait: bool) -> bytes:
        del wait
        return attributes(self.nodeid, FOLDER_MODE, 0, self.mtime_us, 2 + self.folders)

    def lookup(self, name: bytes, *, wait: bool) -> ContentFile | TreeFolder | None:
        del wait
        return self.children.get(name)

    def listing(self, *, wait: bool) -> Listing:
        del wait
        made_at, listing = self._listing
        # The time is read first: a listing made during a change is made again after it.
        now = self.mtime_us
        if listing is None or made_at != now:
            # list() takes the members at one instant; the events' thread may change them any time.
            listing = Listing(self.nodeid, list(self.children.items()))
            self._listing = (now, listing)
        return listing

    def changed(self, mtime_us: int, *, live: bool) -> None:
        """Note that names came or went; a live change always moves the time, which is what caches look at."""
        self.mtime_us = max(self.mtime_us + live, mtime_us)


class Change:
    """What a reader may have cached that is no longer so."""

    __slots__ = ("entries", "folders", "replaced")

    def __init__(self) -> None:
        self.entries: dict[tuple[int, bytes], None] = {}
        self.folders: dict[int, TreeFolder] = {}
        self.replaced: list[ContentFile] = []

    def name(self, folder: TreeFolder, name: bytes) -> None:
        """The name in this folder means something else now."""
        self.entries[folder.nodeid, name] = None
        self.folders[folder.nodeid] = folder


class Tree:
    """Folders and files, by path and by number."""

    def __init__(self, number: Callable[[bytes], int], contents: Contents, root: int | None = None) -> None:
        self._number = number
        self._contents = contents
        # Which nodes had to take another number than the first choice; survives restarts with the tree.
        self.salts: dict[bytes, int] = {}
        self.nodes: dict[int, Node] = {}
        self.files: dict[str, ContentFile] = {}
        self.folders: dict[str, TreeFolder] = {}
        self.bytes = 0
        self.live = False
        nodeid = self._claim(b"d") if root is None else root
        self.root = self.folders[""] = TreeFolder(nodeid, "", None, 0)
        self.nodes[nodeid] = self.root

    def entries(self) -> list[Entry]:
        """The manifest this tree shows."""
        return [
            (
                path,
                "symlink" if stat.S_ISLNK(file.mode) else "file",
                file.mode == PROGRAM_MODE,
                file.size,
                file.digest.hex(),
                file.mtime_us,
            )
            for path, file in self.files.items()
        ]

    def update(self, entries: Iterable[Entry], removed: Iterable[tuple[str, int]] = ()) -> Change:
        """Take entries in and paths out (each with the time of its removal); tells what changed."""
        change = Change()
        if not self.live and not self.files:
            return self._fill(entries, change)
        for path, mtime_us in removed:
            self._remove(path, mtime_us, change)
        for entry in entries:
            self._put(entry, change)
        return change

    def _fill(self, entries: Iterable[Entry], change: Change) -> Change:
        """Take a manifest into the empty tree that nobody has seen: a successor's first answer waits for it."""
        files, folders, nodes, contents = self.files, self.folders, self.nodes, self._contents
        modes = {("file", False): FILE_MODE, ("file", True): PROGRAM_MODE}
        for path, kind, executable, size, digest, mtime_us in entries:
            above, _, last = path.rpartition("/")
            folder = folders.get(above)
            if folder is None:
                folder = self._folder(above, mtime_us, change)
            mode = modes.get((kind, executable), LINK_MODE)
            nodeid = self._claim(_key(path, mode, mtime_us, digest))
            file = ContentFile(nodeid, bytes.fromhex(digest), size, mtime_us, mode, contents)
            files[path] = folder.children[last.encode()] = nodes[nodeid] = file
            self.bytes += size
            folder.mtime_us = max(folder.mtime_us, mtime_us)
        change.folders[self.root.nodeid] = self.root
        return change

    def settle(self, change: Change) -> None:
        """Forget the numbers of replaced files, once another place answers for them."""
        for file in change.replaced:
            if self.nodes.get(file.nodeid) is file:
                del self.nodes[file.nodeid]

    def _claim(self, key: bytes) -> int:
        nodeid = self._number(key)
        if nodeid not in self.nodes and key not in self.salts:
            return nodeid
        salt = self.salts.get(key, 1)
        while True:
            nodeid = self._number(key + b"\0%d" % salt)
            if nodeid not in self.nodes:
                self.salts[key] = salt
                return nodeid
            salt += 1

    def _put(self, entry: Entry, change: Change) -> None:
        path, kind, executable, size, digest, mtime_us = entry
        mode = LINK_MODE if kind == "symlink" else PROGRAM_MODE if executable else FILE_MODE
        old = self.files.get(path)
        if old is not None:
            if old.digest.hex() == digest and old.mode == mode and old.mtime_us == mtime_us:
                return
            self._drop_file(path, old, change)
        above, _, last = path.rpartition("/")
        folder = self._folder(above, mtime_us, change)
        name = last.encode()
        blocking = folder.children.get(name)
        if isinstance(blocking, TreeFolder):
            # The bridge replaced a folder by a file; the folder's files go first.
            prefix = path + "/"
            for each in [known for known in self.files if known.startswith(prefix)]:
                self._remove(each, mtime_us, change)
            folder = self._folder(above, mtime_us, change)
        nodeid = self._claim(_key(path, mode, mtime_us, digest))
        file = ContentFile(nodeid, bytes.fromhex(digest), size, mtime_us, mode, self._contents)
        self.nodes[file.nodeid] = file
        self.files[path] = file
        self.bytes += size
        folder.children[name] = file
        folder.changed(mtime_us, live=self.live)
        change.name(folder, name)

    def _drop_file(self, path: str, file: ContentFile, change: Change) -> None:
        del self.files[path]
        self.bytes -= file.size
        change.replaced.append(file)

    def _remove(self, path: str, mtime_us: int, change: Change) -> None:
        file = self.files.get(path)
        if file is None:
            return
        self._drop_file(path, file, change)
        above, _, last = path.rpartition("/")
        folder, name = self.folders[above], last.encode()
        while True:
            folder.children.pop(name, None)
            folder.changed(mtime_us, live=self.live)
            change.name(folder, name)
            if folder.children or folder.parent is None:
                return
            del self.folders[folder.path]
            self.nodes.pop(folder.nodeid, None)
            name = folder.path.rpartition("/")[2].encode()
            folder = folder.parent
            folder.folders -= 1

    def _folder(self, path: str, mtime_us: int, change: Change) -> TreeFolder:
        folder = self.folders.get(path)
        if folder is not None:
            return folder
        above, _, last = path.rpartition("/")
        obstacle = self.files.get(path)
        if obstacle is not None:
            self._remove(path, mtime_us, change)
        parent = self._folder(above, mtime_us, change)
        folder = TreeFolder(self._claim(b"d" + path.encode()), path, parent, mtime_us)
        self.nodes[folder.nodeid] = folder
        self.folders[path] = folder
        name = last.encode()
        parent.children[name] = folder
        parent.folders += 1
        parent.changed(mtime_us, live=self.live)
        change.name(parent, name)
        return folder


def _key(path: str, mode: int, mtime_us: int, digest: str) -> bytes:
    """What makes a file version the one it is."""
    return f"f{mode},{mtime_us},{digest},{path}".encode()
