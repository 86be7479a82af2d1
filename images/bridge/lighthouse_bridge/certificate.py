"""The certificate by which clients know the bridge, and the authority by which it knows them, read from files."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHAIN, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
# What kubelet points anew at a whole set of files when a Secret has changed.
_CURRENT = "..data"


@dataclass(frozen=True)
class Tls:
    """Where the certificate is and whether clients must show one too. Times are in seconds."""

    folder: Path
    clients: bool = False
    # How often to look for a new one.
    reload_seconds: float = 2.0
    # How long those who connected under the former certificate are told, with each answer, to connect anew. Then
    # connections on which nothing is under way are closed; what is under way ends as it does.
    handover_seconds: float = 30.0


class CertificateError(ValueError):
    """The files are no usable certificate; the message is one sentence for the operator."""


@dataclass(frozen=True)
class Certificate:
    """PEM of a chain and its key; and of the authorities that clients' certificates must come from, empty where
    clients need none."""

    chain: bytes
    key: bytes
    authorities: bytes = b""


def read_certificate(folder: Path, *, clients: bool) -> Certificate:
    """The certificate in a mounted Secret, and with `clients` the authority of theirs; raises CertificateError."""
    current = folder / _CURRENT
    # All files of one Secret's version, even while kubelet replaces them.
    source = current.resolve() if current.is_symlink() else folder
    names = (CHAIN, KEY, AUTHORITY) if clients else (CHAIN, KEY)
    parts: list[bytes] = []
    for name in names:
        try:
            parts.append((source / name).read_bytes())
        except OSError as error:
            raise CertificateError(
                f"The certificate's file {folder / name} cannot be read ({error.strerror}); mount a Secret "
                f"with {', '.join(names)} there."
            ) from None
    found = Certificate(*parts)
    with Copies(found) as copies:
        copies.check(folder)
    return found


class Copies:
    """Files of a certificate in memory, for a server that takes paths: they stay the same, and no disk sees the key."""

    def __init__(self, certificate: Certificate) -> None:
        self._descriptors = {
            CHAIN: _in_memory(CHAIN, certificate.chain),
            KEY: _in_memory(KEY, certificate.key),
        }
        if certificate.authorities:
            self._descriptors[AUTHORITY] = _in_memory(AUTHORITY, certificate.authorities)

    def path(self, name: str) -> str | None:
        """The path of a file, valid in this process until `close`; None for one that is not there."""
        descriptor = self._descriptors.get(name)
        return None if descriptor is None else f"/proc/self/fd/{descriptor}"

    def check(self, folder: Path) -> None:
        """Raise CertificateError unless chain, key and authorities can serve."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(str(self.path(CHAIN)), self.path(KEY), password=_no_password)
            if authorities := self.path(AUTHORITY):
                context.load_verify_locations(authorities)
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise CertificateError(
                f"The certificate in {folder} cannot be used ({reason}); write the chain, its own key without "
                "a password, and the authority, each as PEM."
            ) from None

    def close(self) -> None:
        """Forget the files."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key has a password")


def _in_memory(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    return descriptor
