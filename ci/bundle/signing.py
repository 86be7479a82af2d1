"""Signatures by an OpenPGP key: Helm's own on the chart, and one on the list of checksums."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

    def sign_chart(self, helm: Path, chart: Path, folder: Path) -> None:
        """Package a chart with Helm's provenance file beside it."""
        words = ["--sign", "--key", self.name, "--keyring", str(self.keyring)]
        words += ["--passphrase-file", str(self.passphrase_file)] if self.passphrase_file else []
        run([helm, "package", chart, "--destination", folder, *words])

    def sign(self, file: Path) -> None:
        """Write a detached signature beside a file."""
        with tempfile.TemporaryDirectory(prefix="lighthouse-gpg-") as home:  # mode 0700
            gpg = ["gpg", "--homedir", home, "--batch", "--quiet", "--pinentry-mode", "loopback"]
            gpg += ["--passphrase-file", str(self.passphrase_file)] if self.passphrase_file else []
            try:
                run([*gpg, "--import", self.keyring])
                output = ["--yes", "--armor", "--output", f"{file}.asc"]
                run([*gpg, "--local-user", self.name, *output, "--detach-sign", file])
            finally:
                run(["gpgconf", "--homedir", home, "--kill", "all"])
