"""Signatures by an OpenPGP key: Helm's own on the chart, and one on the list of checksums."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from ci.bundle.archive import sha256
from ci.console import Failure, run

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Key:
    """A secret key in a file made by `gpg --export-secret-keys`, and the file with its passphrase if it has one."""

    keyring: Path
    name: str
    passphrase_file: Path | None = None

    def __post_init__(self) -> None:
        if not self.keyring.is_file():
            raise Failure(
                f"SIGN_KEYRING is {self.keyring}, which is not a file: make one with 'gpg --export-secret-keys {self.name}'."
            )

    def sign_chart(self, helm: Path, package: Path) -> None:
        """Write Helm's provenance file beside a packaged chart, which `helm verify` reads.

        Helm writes one only while it packages, and then puts subcharts in an order of chance.
        """
        described = run([helm, "show", "chart", package])
        files = {"files": {package.name: f"sha256:{sha256(package)}"}}
        text = f"{described.rstrip()}\n\n...\n{yaml.safe_dump(files)}"
        output = package.with_name(f"{package.name}.prov")
        self._gpg("--digest-algo", "SHA512", "--output", output, "--clearsign", stdin=text.encode())

    def sign(self, file: Path) -> None:
        """Write a detached signature beside a file."""
        self._gpg("--armor", "--output", f"{file}.asc", "--detach-sign", file)

    def _gpg(self, *words: str | Path, stdin: bytes | None = None) -> None:
        with tempfile.TemporaryDirectory(prefix="lighthouse-gpg-") as home:  # mode 0700
            gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--yes", "--pinentry-mode", "loopback"]
            gpg += ["--passphrase-file", str(self.passphrase_file)] if self.passphrase_file else []
            try:
                run([*gpg, "--import", self.keyring])
                run([*gpg, "--local-user", self.name, *words], stdin=stdin)
            finally:
                run(["gpgconf", "--homedir", home, "--kill", "all"])
