"""Files that survive the death of their writer at any moment: framed records, and whole documents."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_FRAME = struct.Struct("<II")


class Journal:
    """An append-only file of records; a torn end is cut off when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[bytes] = []
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        data = path.read_bytes()
        position = 0
        while position + _FRAME.size <= len(data):
            length, checksum = _FRAME.unpack_from(data, position)
            record = data[position + _FRAME.size : position + _FRAME.size + length]
            if len(record) != length or zlib.crc32(record) != checksum:
                break
            self.records.append(record)
            position += _FRAME.size + length
        if position < len(data):
            os.ftruncate(self._descriptor, position)
        self.size = position

    def append(self, records: list[bytes]) -> None:
        """Add records; raises OSError when the disk is full, and then leaves the file as it was."""
        data = b"".join(_FRAME.pack(len(record), zlib.crc32(record)) + record for record in records)
        written = 0
        try:
            written = os.write(self._descriptor, data)
        finally:
            if written != len(data):
                os.ftruncate(self._descriptor, self.size)
        if written != len(data):
            raise OSError(errno.ENOSPC, f"{self._path} took only a part of {len(data)} bytes")
        self.size += len(data)

    def replace(self, records: list[bytes]) -> None:
        """Make these the only records."""
        draft = self._path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        fresh = Journal(draft)
        try:
            fresh.append(records)
        except OSError:
            fresh.close()
            raise
        draft.replace(self._path)
        os.close(self._descriptor)
        self._descriptor, self.size = fresh._descriptor, fresh.size

    def close(self) -> None:
        """Give the file back."""
        os.close(self._descriptor)


def save(path: Path, document: bytes) -> None:
    """Replace the file by this document, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.write_bytes(_FRAME.pack(len(document), zlib.crc32(document)) + document)
    draft.replace(path)


def load(path: Path) -> bytes | None:
    """The document saved last; None when there is none or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _FRAME.size:
        return None
    length, checksum = _FRAME.unpack_from(data)
    document = data[_FRAME.size :]
    return document if len(document) == length and zlib.crc32(document) == checksum else None
