"""Values that other bridges keep for us in a place we do not trust: signed, so that nobody can plant one. Pure."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZE = 32


def seal(secret: bytes, name: str, value: bytes) -> bytes:
    """The value with a signature over it and the name it is kept under."""
    return _sign(secret, name, value) + value


def unseal(keys: Sequence[bytes], name: str, sealed: bytes) -> bytes | None:
    """The value, or None when it was not sealed with one of these keys for this name."""
    value = sealed[_SIZE:]
    held = any(hmac.compare_digest(_sign(key, name, value), sealed[:_SIZE]) for key in keys)
    return value if held else None


def _sign(secret: bytes, name: str, value: bytes) -> bytes:
    # The prefix parts these signatures from those of session tokens, which the same secret makes.
    return hmac.digest(secret, b"sealed\0" + name.encode() + b"\0" + value, hashlib.sha256)
