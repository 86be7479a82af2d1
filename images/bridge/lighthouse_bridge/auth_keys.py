"""The keys that sign session tokens and whatever else only a bridge may have made; read again when they change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .environment import SettingsError
from .logs import log

if TYPE_CHECKING:
    from pathlib import Path

WELL_KNOWN = frozenset(
    {
        b"lighthouse-default-secret-change-in-production",
        b"default-secret-change-in-production",
        b"lighthouse-default-secret",
    }
)
MIN_BYTES = 32
# How often the file is looked at.
LOOK_SECONDS = 1.0


class AuthKeys:
    """The keys in a file, one a line: the first signs, all of them verify. So a key is replaced while sessions that
    the old one signed go on."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError for a file that cannot be used; one that becomes so later changes nothing."""
        self._path = path
        self._mark = _mark(path)
        self._keys = read_auth_keys(path)
        self._looked = time.monotonic()

    def signing(self) -> bytes:
        """The key to sign with."""
        return self.verifying()[0]

    def verifying(self) -> tuple[bytes, ...]:
        """Every key whose signatures hold."""
        if time.monotonic() >= self._looked + LOOK_SECONDS:
            self._looked = time.monotonic()
            if (mark := _mark(self._path)) != self._mark:
                self._mark = mark
                self._read()
        return self._keys

    def _read(self) -> None:
        try:
            self._keys = read_auth_keys(self._path)
        except SettingsError as error:
            log.error("auth secret not taken over, the earlier one goes on", reason=str(error))
        else:
            log.info("auth secret taken over", keys=len(self._keys))


def read_auth_keys(path: Path) -> tuple[bytes, ...]:
    """The keys in a file; raises SettingsError when it is missing, or a key is short or well known."""
    try:
        text = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"The auth secret {path} cannot be read ({error.strerror}); mount a file with at least {MIN_BYTES} "
            "random bytes there or name another with LIGHTHOUSE_AUTH_SECRET_FILE."
        ) from None
    # Random bytes have no lines, though the one that ends lines may be among them.
    keys = tuple(line.strip() for line in text.split(b"\n") if line.strip()) if text.isascii() else (text,)
    for key in keys or (b"",):
        if key in WELL_KNOWN:
            raise SettingsError(
                f"The auth secret {path} is a well-known default; replace it with {MIN_BYTES} random bytes."
            )
        if len(key) < MIN_BYTES:
            raise SettingsError(
                f"The auth secret {path} has {len(key)} bytes in a line; it needs at least {MIN_BYTES} random ones."
            )
    return keys


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
