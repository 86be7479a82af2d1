"""Targets with planted findings: a scanner that does not find them is not believed about anything else."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from typing import TYPE_CHECKING

from ci.console import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from ci.scan.findings import Scan

DEBIAN_PACKAGE = ("openssl", "3.0.0-1")
"""Old enough for every release of Debian's tracker to name vulnerabilities of it."""
PYTHON_PACKAGE = ("PyYAML", "5.3")
"""CVE-2020-14343 and CVE-2020-1747 are fixed in later versions."""
GO_PACKAGE = ("golang.org/x/net", "v0.1.0")
"""CVE-2022-41717 is fixed in 0.4.0."""
PACKAGES = (DEBIAN_PACKAGE, PYTHON_PACKAGE, GO_PACKAGE)
SECRET_RULE = "aws-access-key-id"  # noqa: S105 - the name of a rule
PRIVILEGED_RULES = {"checkov": "CKV_K8S_16", "trivy": "KSV-0017"}
"""What each scanner calls a privileged container."""
MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  name: canary
  namespace: canary
spec:
  hostNetwork: true
  containers:
    - name: canary
      image: example.com/canary:1.0.0
      securityContext:
        privileged: true
"""
LOCK = "pyyaml==5.3 --hash=sha256:e9f45bd5b92c7974e59bcd2dcc8631a6b6cc380a904725fce7bc08872e691615\n"

_DPKG = """\
Package: {0}
Status: install ok installed
Architecture: amd64
Version: {1}
Maintainer: canary

"""
_OS = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


def secret_file() -> str:
    """A file with something shaped as a key; put together here, so that no file of this repository holds it."""
    return "aws_access_key_id = AKIA" + "Z7Q4M2X8L5T9W3K6\n"


def go_program() -> bytes:
    """A program for x86-64 of which only what Go writes of its modules is there, as scanners read it."""
    name, version = GO_PACKAGE
    frame = b"-" * 16  # around the modules; its content means nothing
    modules = f"path\tcanary\nmod\tcanary\tv1.0.0\t\ndep\t{name}\t{version}\th1:canary\n"
    said = [b"go1.26.0", frame + modules.encode() + frame]
    # Strings with their length before them (flag 2), in two groups of seven bits.
    lengths = [bytes([len(text) & 127 | 128, len(text) >> 7]) for text in said]
    texts = b"".join(length + text for length, text in zip(lengths, said, strict=True))
    data = b"\xff Go buildinf:" + bytes([8, 2]) + bytes(16) + texts + bytes(32)
    address, offset = 0x400000, 128
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, address, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 6, offset, address, address, len(data), len(data), 16)
    elf = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return (elf + header + segment).ljust(offset, b"\0") + data


def canary_files() -> dict[str, bytes]:
    """The files of the canary image: a Debian with a vulnerable package of each kind, and a secret."""
    name, version = PYTHON_PACKAGE
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {
        "etc/os-release": _OS.encode(),
        "etc/debian_version": b"12.0\n",
        "var/lib/dpkg/status": _DPKG.format(*DEBIAN_PACKAGE).encode(),
        f"usr/lib/python3/dist-packages/{name}-{version}.dist-info/METADATA": metadata.encode(),
        "usr/bin/canary": go_program(),
        "srv/canary.ini": secret_file().encode(),
    }


def write_layout(folder: Path, files: dict[str, bytes]) -> Path:
    """An image of one layer with these files, as a folder in the OCI layout; returns the folder."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755  # Trivy looks for Go's modules in what can be run
            archive.addfile(entry, io.BytesIO(content))
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, kind: str) -> dict[str, str | int]:
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return {
            "mediaType": f"application/vnd.oci.image.{kind}",
            "digest": f"sha256:{name}",
            "size": len(content),
        }

    layers = [blob(layer.getvalue(), "layer.v1.tar")]
    root = {"type": "layers", "diff_ids": [layers[0]["digest"]]}
    config = blob(
        json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": root}).encode(),
        "config.v1+json",
    )
    manifest = blob(
        json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode(), "manifest.v1+json"
    )
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def require(scan: Scan, planted: dict[str, tuple[str, str]]) -> None:
    """Raise `Failure` unless each thing planted was found: by its name, the check ("" for any) and the start of a
    finding's subject."""
    missed = [
        name
        for name, (check, subject) in planted.items()
        if not any(check in {"", f.check} and f.subject.startswith(subject) for f in scan.findings)
    ]
    if missed:
        raise Failure(
            f"{scan.scanner} did not find {', '.join(missed)} in its canary, so nothing that it says is believed: "
            "give it another database, or pin a version that works."
        )
