"""The peer in Python: a folder held in memory, served read-only by pyfuse3 with its own defaults for caching.

Runs in a virtual environment of its own: `python pyfuse3_tree.py SOURCE MOUNTPOINT`.
"""

from __future__ import annotations

import errno
import stat
import sys
from pathlib import Path
from typing import Any

import pyfuse3  # type: ignore[import-not-found] # in a virtual environment of its own
import trio  # type: ignore[import-not-found] # likewise


class Tree(pyfuse3.Operations):  # type: ignore[misc] # pyfuse3 has no types here
    """Numbers stand for positions in a list of nodes; a folder's content is a map of names."""

    enable_writeback_cache = False

    def __init__(self, source: Path) -> None:
        super().__init__()
        self.nodes: list[bytes | dict[bytes, int]] = [b""]
        self._add(source)

    def _add(self, path: Path) -> int:
        number = len(self.nodes)
        self.nodes.append(b"")
        if path.is_dir():
            self.nodes[number] = {each.name.encode(): self._add(each) for each in sorted(path.iterdir())}
        else:
            self.nodes[number] = path.read_bytes()
        return number

    def _attributes(self, number: int) -> Any:
        node = self.nodes[number]
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = number
        entry.st_mode = stat.S_IFDIR | 0o555 if isinstance(node, dict) else stat.S_IFREG | 0o444
        entry.st_size = 0 if isinstance(node, dict) else len(node)
        return entry

    async def getattr(self, inode: int, ctx: object = None) -> Any:
        return self._attributes(inode)

    async def lookup(self, parent_inode: int, name: bytes, ctx: object = None) -> Any:
        node = self.nodes[parent_inode]
        if not isinstance(node, dict) or name not in node:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(node[name])

    async def opendir(self, inode: int, ctx: object) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: object) -> None:
        node = self.nodes[fh]
        assert isinstance(node, dict)
        for position, (name, number) in enumerate(list(node.items())[start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, name, self._attributes(number), position):
                return

    async def open(self, inode: int, flags: int, ctx: object) -> Any:
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        node = self.nodes[fh]
        assert isinstance(node, bytes)
        return node[off : off + size]


def main() -> None:
    source, target = sys.argv[1:]
    options = {*pyfuse3.default_options, "fsname=pyfuse3", "allow_other", "ro"}
    pyfuse3.init(Tree(Path(source)), target, options)
    print("serving", flush=True)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
