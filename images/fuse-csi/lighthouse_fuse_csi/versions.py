"""Files that are no longer, or not plainly, in the tree but may still be open: each one fixed for ever.

Replaced versions of project files, documents, context files and debug snapshots are kept here by number, over
restarts, up to a limit, so that whoever holds one open reads on what it began to read.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import structlog

from lighthouse_fuse_csi.journal import Journal
from lighthouse_fuse_csi.nodes import FILE_MODE
from lighthouse_fuse_csi.tree import ContentFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lighthouse_fuse_csi.contents import Contents

_log = structlog.get_logger()
_KEPT = 16384


class _Record(msgspec.Struct, array_like=True):
    nodeid: int
    digest: bytes
    size: int
    mtime_us: int
    mode: int


class Versions:
    """Fixed files by number."""

    def __init__(self, path: Path, contents: Contents) -> None:
        self._contents = contents
        self._journal = Journal(path)
        self._lock = Lock()
        self._files: dict[int, ContentFile] = {}
        for data in self._journal.records[-_KEPT:]:
            each = msgspec.msgpack.decode(data, type=_Record)
            self._files[each.nodeid] = ContentFile(
                each.nodeid, each.digest, each.size, each.mtime_us, each.mode, contents
            )
        self._written = len(self._journal.records)
        self._journal.records = []

    def get(self, nodeid: int) -> ContentFile | None:
        """The file of this number."""
        return self._files.get(nodeid)

    def keep(self, files: Iterable[ContentFile]) -> None:
        """Answer for these files from now on."""
        with self._lock:
            fresh = [file for file in files if file.nodeid not in self._files]
            if not fresh:
                return
            for file in fresh:
                self._files[file.nodeid] = file
            while len(self._files) > _KEPT:
                del self._files[next(iter(self._files))]
            try:
                if self._written > 2 * _KEPT:
                    self._journal.replace([_pack(file) for file in self._files.values()])
                    self._written = len(self._files)
                else:
                    self._journal.append([_pack(file) for file in fresh])
                    self._written += len(fresh)
            except OSError as error:
                _log.warning("file versions are not kept over a restart", error=str(error))

    def make(self, nodeid: int, content: bytes, digest: bytes, mtime_us: int) -> ContentFile:
        """Keep a document as a file of this number, and its content in the cache."""
        known = self._files.get(nodeid)
        if known is not None and known.digest in self._contents.blobs:
            return known
        self._contents.keep(digest, content)
        file = ContentFile(nodeid, digest, len(content), mtime_us, FILE_MODE, self._contents)
        self.keep([file])
        return file


def _pack(file: ContentFile) -> bytes:
    return msgspec.msgpack.encode(_Record(file.nodeid, file.digest, file.size, file.mtime_us, file.mode))
