"""The head that the store keeps of itself, signed: it shows a tail that was cut off, and a chain written anew.

Bridges keep it every half minute and when they stop. Who can write to the store can remove or set it back, but not
forge it; a head that was saved elsewhere is needed against them.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from .chain import Head
from .verification import stored_head

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .transactions import Connection, Transaction

_KEY = "signed_head"


def sign_head(key: bytes, head: Head) -> str:
    """A signature over a head, so that it may be kept where others write, too."""
    said = f"head:{head.sequence}:{head.hash.hex()}".encode()
    return hmac.new(key, said, hashlib.sha256).hexdigest()


def keep_head(transaction: Transaction, keys: Sequence[bytes]) -> list[str]:
    """Keep where the store ends, unless it does not hold what was kept before: then what is wrong is returned."""
    connection = transaction.connection
    kept, end = _read(connection, keys), stored_head(connection, None)
    if kept is not None and (problems := _compare(connection, kept)):
        return problems
    if end is not None and end.sequence:
        connection.execute(
            "INSERT INTO store_metadata (key, value, updated_at) VALUES (?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
            (
                _KEY,
                f"{end.sequence}:{end.hash.hex()}:{sign_head(keys[0], end)}",
                transaction.now_us // 1_000_000,
            ),
        )
    return []


def check_end(connection: Connection, keys: Sequence[bytes], told: int) -> list[str]:
    """What is wrong with where the store ends; `told` is the last event that a bridge has heard of."""
    kept, end = _read(connection, keys), stored_head(connection, None)
    if end is not None and end.sequence < told:
        return [f"event {told}, which this bridge has told others of, is gone: the end was cut off"]
    return [] if kept is None else _compare(connection, kept)


def _compare(connection: Connection, kept: Head) -> list[str]:
    found = stored_head(connection, kept.sequence)
    if found is None:
        return [f"event {kept.sequence}, with which the store once ended, is gone: the end was cut off"]
    if found.hash != kept.hash:
        return [
            f"event {kept.sequence} is not the one with which the store once ended: the end was cut off and written "
            "anew"
        ]
    return []


def _read(connection: Connection, keys: Sequence[bytes]) -> Head | None:
    """The head that was kept, or None when there is none that one of the keys signed."""
    row = connection.execute("SELECT value FROM store_metadata WHERE key = ?", (_KEY,)).fetchone()
    sequence, _, rest = (row[0] if row else "").partition(":")
    digest, _, signature = rest.partition(":")
    try:
        head = Head(int(sequence), 0, bytes.fromhex(digest))
    except ValueError:
        return None
    signed = any(hmac.compare_digest(sign_head(key, head).encode(), signature.encode()) for key in keys)
    return head if signed else None
