"""Content by its SHA-256, stored once, compressed when that saves space."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .transactions import Connection

MAX_BLOB_BYTES = 100 * 1024 * 1024
_SAMPLE = 64 * 1024


class Blob(msgspec.Struct, frozen=True):
    """Content ready to be stored; `size` and `is_text` describe it uncompressed."""

    hash: str
    size: int
    is_text: bool
    encoding: str
    data: bytes


def pack_blob(content: bytes) -> Blob:
    """Hash and, where it saves a tenth or more, compress `content`."""
    encoding, data = "raw", content
    if len(content) >= 256:
        sample = content[:_SAMPLE]
        if len(zlib.compress(sample, 1)) <= len(sample) * 0.9:
            encoding, data = "zlib", zlib.compress(content, 1)
    return Blob(hashlib.sha256(content).hexdigest(), len(content), is_text(content), encoding, data)


def is_text(content: bytes) -> bool:
    """Whether the content is UTF-8 without NUL."""
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def put_blob(connection: Connection, blob: Blob) -> bool:
    """Store the blob unless it is there; returns whether it was new."""
    cursor = connection.execute(
        "INSERT INTO blobs (hash, size, is_text, encoding, data) VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        (blob.hash, blob.size, int(blob.is_text), blob.encoding, blob.data),
    )
    return cursor.rowcount == 1


def read_blob(connection: Connection, content_hash: str) -> bytes | None:
    """The content with this hash, or None."""
    row = connection.execute("SELECT encoding, data FROM blobs WHERE hash = ?", (content_hash,)).fetchone()
    return None if row is None else _unpack(*row)


def read_blobs(connection: Connection, hashes: Iterable[str], limit: int) -> dict[str, bytes]:
    """The contents of `hashes` in order until `limit` bytes are full; at least one, unknown ones absent."""
    found: dict[str, bytes] = {}
    total = 0
    for content_hash in hashes:
        row = connection.execute("SELECT size FROM blobs WHERE hash = ?", (content_hash,)).fetchone()
        if row is None or content_hash in found:
            continue
        if found and total + row[0] > limit:
            break
        content = read_blob(connection, content_hash)
        if content is not None:
            found[content_hash] = content
            total += len(content)
    return found


def blob_facts(connection: Connection, content_hash: str) -> tuple[int, bool] | None:
    """Size and whether it is text of a stored blob, or None."""
    row = connection.execute("SELECT size, is_text FROM blobs WHERE hash = ?", (content_hash,)).fetchone()
    return None if row is None else (row[0], bool(row[1]))


def _unpack(encoding: str, data: bytes) -> bytes:
    return zlib.decompress(data) if encoding == "zlib" else data
