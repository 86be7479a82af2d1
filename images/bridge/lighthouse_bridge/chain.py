"""The hash chain over events: each row's SHA-256 covers all of its columns and the row before it. Pure."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

# The published columns, in the order in which they are hashed and stored; `row_hash` comes after them.
COLUMNS = (
    "sequence_id",
    "event_id",
    "event_type",
    "timestamp",
    "agent_id",
    "aggregate_id",
    "aggregate_version",
    "event_data",
    "metadata",
    "checksum",
    "created_at",
)
GENESIS = bytes(32)

_encode = msgspec.msgpack.Encoder().encode


def row_hash(previous: bytes, columns: tuple[Any, ...]) -> bytes:
    """The hash of a row, given that of the row before it (GENESIS for the first) and its COLUMNS."""
    # MessagePack says where each value ends, so no two rows are written alike.
    return hashlib.sha256(previous + _encode(columns)).digest()


class Head(msgspec.Struct, frozen=True):
    """Where a store ends: its last sequence, its latest timestamp in microseconds, its last row's hash."""

    sequence: int = 0
    timestamp_us: int = 0
    hash: bytes = GENESIS
