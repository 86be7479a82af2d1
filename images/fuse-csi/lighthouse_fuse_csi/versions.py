"""Files that are no longer, or not plainly, in the tree but may still be open: each one fixed for ever.

Replaced versions of project files, documents, context files and debug snapshots are kept here by number, over
restarts, up to a limit, so that whoever holds one open reads on what it began to read.
"""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import TYPE_CHECKING

import msgspec
import structlog

from lighthouse_fuse_csi.journal import Journal
from lighthouse_fuse_csi.nodes import FILE_MODE
from lighthouse_fuse_csi.numbers import number
from lighthouse_fuse_csi.tree import ContentFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from lighthouse_fuse_csi.contents import Contents
    from lighthouse_fuse_csi.nodes import Content
    from lighthouse_fuse_csi.numbers import Area

_log = structlog.get_logger()
_KEPT = 16384


class _Record(msgspec.Struct, array_like=True):
    nodeid: int
    digest: bytes
    size: int
    mtime_us: int
    mode: int
    source: str = ""


class Document(ContentFile):
    """A file that the bridge makes; `source` says how to ask for it again."""

    __slots__ = ("_fetch", "source")

    def __init__(self, record: _Record, contents: Contents, fetch: Callable[[str], bytes]) -> None:
        super().__init__(record.nodeid, record.digest, record.size, record.mtime_us, record.mode, contents)
        self.source = record.source
        self._fetch = fetch

    def read(self, offset: int, size: int, *, wait: bool) -> Content:
        content = self.contents.get(self.digest, wait=wait, source=lambda: self._fetch(self.source))
        return content[offset : offset + size]


class Versions:
    """Fixed files by number. `fetch` asks the bridge for the document of a source."""

    def __init__(self, path: Path, contents: Contents, fetch: Callable[[str], bytes]) -> None:
        self._contents = contents
        self._fetch = fetch
        self._journal = Journal(path)
        self._lock = Lock()
        # Those of an earlier process stay packed until they are asked for: most never are.
        self._files: dict[int, ContentFile | bytes] = {
            int.from_bytes(data[:8], "big"): data for data in self._journal.records[-_KEPT:]
        }
        self._written = len(self._journal.records)
        self._journal.records = []

    def get(self, nodeid: int) -> ContentFile | None:
        """The file of this number."""
        file = self._files.get(nodeid)
        if isinstance(file, bytes):
            file = self._files[nodeid] = self._make(msgspec.msgpack.decode(file[8:], type=_Record))
        return file

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

    def add(self, area: Area, source: str, content: bytes, mtime_us: int) -> ContentFile:
        """Keep a document that came from `source` as a file, and its content in the cache."""
        digest = hashlib.sha256(content).digest()
        nodeid = number(area, b"v%d,%b,%b" % (mtime_us, digest, source.encode()))
        self._contents.keep(digest, content)
        known = self.get(nodeid)
        if known is not None:
            return known
        file = self._make(_Record(nodeid, digest, len(content), mtime_us, FILE_MODE, source))
        self.keep([file])
        return file

    def _make(self, record: _Record) -> ContentFile:
        if record.source:
            return Document(record, self._contents, self._fetch)
        return ContentFile(
            record.nodeid, record.digest, record.size, record.mtime_us, record.mode, self._contents
        )


def _pack(file: ContentFile | bytes) -> bytes:
    if isinstance(file, bytes):
        return file
    source = file.source if isinstance(file, Document) else ""
    record = _Record(file.nodeid, file.digest, file.size, file.mtime_us, file.mode, source)
    return file.nodeid.to_bytes(8, "big") + msgspec.msgpack.encode(record)
