"""Certificates for servers and clients of tests, and authorities that sign them."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


def certificate(
    folder: Path,
    addresses: list[str],
    authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    hosts: list[str] | None = None,
) -> int:
    """Write a certificate, its key and that of its authority; returns its serial number."""
    ca, ca_key = authority
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(tz=datetime.UTC)
    names: list[x509.GeneralName] = [x509.IPAddress(ip_address(address)) for address in addresses]
    names += [x509.DNSName(host) for host in hosts or []]
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for name, content in (
        ("tls.key", secret),
        ("tls.crt", made.public_bytes(serialization.Encoding.PEM)),
        ("ca.crt", ca.public_bytes(serialization.Encoding.PEM)),
    ):
        (folder / name).write_bytes(content)
    return made.serial_number


def new_authority(name: str = "tests") -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority that signs certificates."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(tz=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made, key


def trust(folder: Path, *authorities: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> None:
    """Let a folder's ca.crt hold these authorities."""
    shown = [ca.public_bytes(serialization.Encoding.PEM) for ca, _ in authorities]
    (folder / "ca.crt").write_bytes(b"".join(shown))


class MountedSecret:
    """A folder as kubelet mounts a Secret: all files change at one moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tls"
        self.folder.mkdir()
        self.authority = new_authority()
        self._version = 0
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (self.folder / name).symlink_to(f"..data/{name}")

    def renew(self, **broken: bytes) -> int:
        """Put a new certificate there, or with `broken` these files of it; returns its serial number."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        version.mkdir()
        serial = certificate(version, ["127.0.0.1"], self.authority)
        for name, content in broken.items():
            (version / name.replace("_", ".")).write_bytes(content)
        link = self.folder / "..new"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")
        return serial
