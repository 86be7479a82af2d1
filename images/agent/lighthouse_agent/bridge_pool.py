"""Connections to the bridge. Over TLS by files: an authority, and a certificate of one's own where there is one.

The image of the file system takes this module too, so it needs nothing but urllib3.
"""

from __future__ import annotations

import ssl
from threading import Lock
from typing import TYPE_CHECKING, Any

import urllib3

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY, CHAIN, KEY = "ca.crt", "tls.crt", "tls.key"


class TlsFilesError(urllib3.exceptions.HTTPError):
    """The files cannot be used; the message is one sentence."""


class BridgePool:
    """A pool of connections, safe for many threads. With `tls_dir`, connections made after its files have changed use
    the new ones; files that cannot be used leave those before in use."""

    def __init__(self, tls_dir: Path | None, **options: Any) -> None:
        """`options` are those of urllib3's PoolManager."""
        self._tls_dir = tls_dir
        self._options = options
        self._lock = Lock()
        self._mark: object = None
        self._pool: urllib3.PoolManager | None = None

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """As PoolManager.request; raises TlsFilesError when there were no usable files yet."""
        return self._current().request(method, url, **options)

    def clear(self) -> None:
        """Close the connections that nobody uses."""
        if self._pool is not None:
            self._pool.clear()

    def _current(self) -> urllib3.PoolManager:
        folder = self._tls_dir
        mark = [_mark(folder / name) for name in (AUTHORITY, CHAIN, KEY)] if folder else []
        with self._lock:
            if self._pool is not None and mark == self._mark:
                return self._pool
            try:
                context = _context(folder) if folder else None
            except (OSError, ValueError) as error:
                if self._pool is not None:
                    return self._pool
                raise TlsFilesError(
                    f"the files in {folder} cannot be used ({error}); mount {AUTHORITY}, and {CHAIN} with {KEY} "
                    "if the bridge asks for a certificate"
                ) from None
            self.clear()
            self._pool, self._mark = urllib3.PoolManager(ssl_context=context, **self._options), mark
            return self._pool


def _mark(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / AUTHORITY)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if (folder / CHAIN).exists():
        context.load_cert_chain(folder / CHAIN, folder / KEY, password=_no_password)
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key has a password")
