"""TLS for the port of probes and metrics: it shows the certificate of a mounted Secret, always the latest.

Each image's package has a link to this file, since none holds the package of another.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from pathlib import Path

VARIABLE = "LIGHTHOUSE_METRICS_TLS_DIR"
CHAIN, KEY = "tls.crt", "tls.key"
# What kubelet points anew at a whole set of files when a Secret has changed.
_CURRENT = "..data"


class CertificateError(ValueError):
    """The files are no usable certificate; the message is one sentence for the operator."""


def secured(listening: socket.socket, folder: Path) -> ssl.SSLSocket:
    """The socket over TLS 1.3; raises CertificateError unless the folder has a usable certificate.

    The handshake is left to the first read of each connection, so that a silent client keeps no other waiting.
    """
    context = _Certificate(folder).context
    return context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)


class _Connection(ssl.SSLSocket):
    """Who does not speak TLS gets no answer, and the server no traceback."""

    def recv_into(self, *arguments: Any, **names: Any) -> int:
        try:
            return super().recv_into(*arguments, **names)
        except ssl.SSLError:
            return 0


class _Certificate:
    """The certificate of a folder, read again for the next client when its files have changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version: object = None
        self.context = self._read()

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        # Called in each handshake, whether the client names a host or, as kubelet, none.
        # Where the new one cannot be used the former is shown, until it ends and Prometheus sees the target down.
        with contextlib.suppress(CertificateError):
            self.context = self._read()
        connection.context = self.context

    def _read(self) -> ssl.SSLContext:
        current = self._folder / _CURRENT
        # All files of one Secret's version, even while kubelet replaces them.
        source = current.resolve() if current.is_symlink() else self._folder
        files = source / CHAIN, source / KEY
        try:
            version = [(file, file.stat().st_mtime_ns) for file in files]
            if version == self._version:
                return self.context
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.load_cert_chain(*files, password=_no_password)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
            raise CertificateError(
                f"{VARIABLE}: the certificate in {self._folder} cannot be used ({reason}); mount a Secret with "
                f"{CHAIN} and {KEY} there."
            ) from None
        context.sslsocket_class = _Connection
        context.sni_callback = self._choose
        self._version = version
        return context


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key has a password")
