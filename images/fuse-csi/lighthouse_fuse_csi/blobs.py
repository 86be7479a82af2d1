"""The disk cache of file contents, by SHA-256.

Contents lie packed in segment files that are mapped into memory: serving one costs a dictionary look-up and
no system call, which beats a file for each content by far. A whole segment is dropped when the limit is
reached, the least recently used first. What an earlier process wrote is hashed again before it is used.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from threading import Lock
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

    from lighthouse_fuse_csi.nodes import Content

_log = structlog.get_logger()
# sha256, offset, length, then a checksum of the record itself
_RECORD = struct.Struct("<32sQQI")
_SEGMENT = 32 << 20
EMPTY = hashlib.sha256(b"").digest()


class WrongContentError(Exception):
    """The content does not have the hash it was asked by."""


class _Segment:
    """One file of contents and one of records that say where they lie."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self.index_path = path.with_suffix(".index")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self.descriptor = os.open(path, flags, 0o600)
        self.index = os.open(self.index_path, flags | os.O_APPEND, 0o600)
        self.capacity = max(os.fstat(self.descriptor).st_size, capacity)
        os.ftruncate(self.descriptor, self.capacity)
        self.data = memoryview(mmap.mmap(self.descriptor, self.capacity, prot=mmap.PROT_READ))
        self.used = 0
        self.touched = 0
        self.digests: list[bytes] = []

    def load(self) -> list[tuple[bytes, int, int]]:
        """The records of an earlier process, up to the first damaged one."""
        records = []
        data = self.index_path.read_bytes()
        good = 0
        for digest, offset, length, checksum in _RECORD.iter_unpack(
            data[: len(data) // _RECORD.size * _RECORD.size]
        ):
            if _checksum(digest, offset, length) != checksum or offset + length > self.capacity:
                break
            good += 1
            records.append((digest, offset, length))
            self.used = max(self.used, offset + length)
        os.ftruncate(self.index, good * _RECORD.size)
        return records

    def append(self, digest: bytes, content: Content) -> int:
        """Write the content, then its record; returns its offset."""
        offset, view = self.used, memoryview(content)
        while view:
            view = view[os.pwrite(self.descriptor, view, self.used + len(content) - len(view)) :]
        length = len(content)
        os.write(self.index, _RECORD.pack(digest, offset, length, _checksum(digest, offset, length)))
        self.used += length
        return offset

    def remove(self) -> None:
        """Delete the files; the mapping lives on while an answer still uses it."""
        os.close(self.descriptor)
        os.close(self.index)
        self.path.unlink(missing_ok=True)
        self.index_path.unlink(missing_ok=True)


class Blobs:
    """Contents by their SHA-256 digest (32 bytes)."""

    def __init__(self, folder: Path, limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._limit = limit
        self._segment_size = min(_SEGMENT, max(limit // 8, 1 << 20))
        self._lock = Lock()
        self._places: dict[bytes, tuple[_Segment, int, int]] = {}
        self._unproven: set[bytes] = set()
        self._segments: list[_Segment] = []
        self._clock = 0
        self._oversized: tuple[bytes, Content] = (b"", b"")
        self.hits = self.misses = self.evictions = 0
        for path in sorted(folder.glob("*.pack")):
            segment = _Segment(path, 1)
            for digest, offset, length in segment.load():
                self._places[digest] = (segment, offset, length)
                self._unproven.add(digest)
                segment.digests.append(digest)
            self._segments.append(segment)
        self._number = 1 + max((int(segment.path.stem) for segment in self._segments), default=0)
        self._open = self._segments[-1] if self._segments else None

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(segment.used for segment in self._segments)

    @property
    def limit(self) -> int:
        """Bytes that may be held."""
        return self._limit

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places or digest == EMPTY

    def get(self, digest: bytes) -> Content | None:
        """The content, or None when it is not held."""
        place = self._places.get(digest)
        if place is None:
            if digest == EMPTY:
                return b""
            if digest == self._oversized[0]:
                return self._oversized[1]
            self.misses += 1
            return None
        segment, offset, length = place
        segment.touched = self._clock
        content = segment.data[offset : offset + length]
        if digest in self._unproven:
            if hashlib.sha256(content).digest() != digest:
                _log.warning("damaged content dropped from the cache", sha256=digest.hex())
                self._places.pop(digest, None)
                self.misses += 1
                return None
            self._unproven.discard(digest)
        self.hits += 1
        return content

    def put(self, digest: bytes, content: Content) -> Content:
        """Hold the content, and return it as held; raises WrongContentError, OSError."""
        if hashlib.sha256(content).digest() != digest:
            raise WrongContentError(f"Content asked by hash {digest.hex()} has another hash.")
        if not len(content):
            return b""
        if len(content) > self._limit:
            # Too large to hold on disk; the one read last stays in memory, as its pieces are read one by one.
            self._oversized = (digest, content)
            return content
        with self._lock:
            held = self.get(digest) if digest in self._places else None
            if held is not None:
                return held
            self._clock += 1
            segment = self._room(len(content))
            offset = segment.append(digest, content)
            segment.digests.append(digest)
            segment.touched = self._clock
            self._places[digest] = (segment, offset, len(content))
            return segment.data[offset : offset + len(content)]

    def _room(self, length: int) -> _Segment:
        segment = self._open
        if segment is None or segment.used + length > segment.capacity:
            path = self._folder / f"{self._number:08}.pack"
            segment = _Segment(path, max(self._segment_size, length))
            self._number += 1
            self._segments.append(segment)
            self._open = segment
        while self.size + length > self._limit and len(self._segments) > 1:
            oldest = min(
                (each for each in self._segments if each is not segment), key=lambda each: each.touched
            )
            self._segments.remove(oldest)
            for digest in oldest.digests:
                place = self._places.get(digest)
                if place is not None and place[0] is oldest:
                    del self._places[digest]
            oldest.remove()
            self.evictions += 1
        return segment


def _checksum(digest: bytes, offset: int, length: int) -> int:
    return zlib.crc32(b"%s%d,%d" % (digest, offset, length))
