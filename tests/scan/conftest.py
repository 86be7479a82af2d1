"""The scanners, a vulnerability database and an advisory service that hold what a test plants."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from ci import toolchain
from ci.console import Steps, run
from ci.scan.advisories import PipAudit
from ci.scan.checkov import Checkov
from ci.scan.policy import read_thresholds
from ci.scan.trivy import Trivy
from ci.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime.datetime.now(tz=datetime.UTC)
OPENSSL = "CVE-2999-0001"
PYYAML = "CVE-2020-14343"
GO_NET = "CVE-2022-41717"
POLICIES = ROOT / "policies" / "scan"
LEAST = read_thresholds(POLICIES / "thresholds.yaml").database_minimum_entries
ADVISORIES: dict[str, dict[str, Any]] = {
    "debian 12": {"openssl": {OPENSSL: {"FixedVersion": "3.0.0-2"}}},
    "pip::GitHub Security Advisory Pip": {
        "pyyaml": {PYYAML: {"PatchedVersions": ["5.4"], "VulnerableVersions": ["<5.4"]}}
    },
    "go::GitHub Security Advisory Go": {
        "golang.org/x/net": {GO_NET: {"PatchedVersions": ["0.4.0"], "VulnerableVersions": ["<0.4.0"]}}
    },
    "vulnerability": {
        OPENSSL: {"Severity": "CRITICAL", "Title": "planted"},
        PYYAML: {"Severity": "CRITICAL"},
        GO_NET: {"Severity": "CRITICAL"},
    },
    "data-source": {
        "debian 12": {"ID": "debian", "Name": "Debian Security Tracker"},
        "pip::GitHub Security Advisory Pip": {"ID": "ghsa", "Name": "GitHub Security Advisory Pip"},
        "go::GitHub Security Advisory Go": {"ID": "ghsa", "Name": "GitHub Security Advisory Go"},
    },
}


def whole(contents: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A database's contents with as many further entries, about nothing, as policies/scan asks of its buckets."""
    filled = dict(contents)
    for prefix, count in LEAST.items():
        for name in [name for name in contents if name.startswith(prefix)]:
            entry: dict[str, Any] = {"Severity": "LOW"} if name == "vulnerability" else {"CVE-2999-9999": {}}
            filled[name] = {f"nothing-{number}": entry for number in range(count)} | contents[name]
    return filled


@pytest.fixture(scope="session")
def lister() -> Path:
    """The program ci/tools/trivy-db."""
    return toolchain.go_tool(toolchain.TRIVY_DB, Steps(quiet=True)) / "trivy-db"


@pytest.fixture(scope="session")
def python() -> Path:
    """Python of the scanners' environment."""
    return toolchain.scanners(Steps(quiet=True))


@pytest.fixture
def write_database(lister: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a vulnerability database, filled up unless `bare`, and returns its folder."""

    def write(
        contents: dict[str, Any] = ADVISORIES,
        updated: datetime.datetime = NOW,
        version: int = 2,
        *,
        bare: bool = False,
    ) -> Path:
        folder = tmp_path / "database"
        folder.mkdir()
        written = contents if bare else whole(contents)
        run([lister, "write", folder / "trivy.db"], stdin=json.dumps(written).encode())
        day = updated.isoformat().replace("+00:00", "Z")
        later = (NOW + datetime.timedelta(days=3650)).isoformat().replace("+00:00", "Z")
        described = {"Version": version, "UpdatedAt": day, "NextUpdate": later, "DownloadedAt": day}
        (folder / "metadata.json").write_text(json.dumps(described))
        return folder

    return write


@pytest.fixture
def trivy(write_database: Callable[..., Path]) -> Trivy:
    """Trivy with the database of planted advisories."""
    program = toolchain.go_tool(toolchain.TRIVY, Steps(quiet=True)) / "trivy"
    return Trivy(program, write_database())


@pytest.fixture(scope="session")
def checkov(python: Path) -> Checkov:
    """checkov with this repository's checks."""
    return Checkov(python, ROOT / "policies" / "checkov")


@contextmanager
def advisory_service(vulnerable: dict[str, str], status: int = 200) -> Iterator[str]:
    """A service that speaks OSV's query API on loopback: these packages, by version, have a vulnerability."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            answer: dict[str, Any] = {}
            if vulnerable.get(name) == asked["version"]:
                events = [{"introduced": "0"}, {"fixed": "5.4"}]
                package = {"name": name, "ecosystem": "PyPI"}
                affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
                answer = {"vulns": [{"id": "PYSEC-2021-142", "summary": "planted", "affected": [affected]}]}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def advisories() -> Iterator[str]:
    """The address of an advisory service that knows the canary's package."""
    with advisory_service({"pyyaml": "5.3"}) as address:
        yield address


@pytest.fixture
def pip_audit(python: Path, advisories: str) -> PipAudit:
    """pip-audit that asks the planted service."""
    return PipAudit(python, advisories)


@pytest.fixture
def scan(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`python -m ci.scan` with its reports in tmp_path/reports, and with these variables in its environment."""

    def start(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ci.scan", "--reports", tmp_path / "reports", *words]
        env = os.environ | variables
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    return start


def said(file: Path, text: str) -> Path:
    """A program that says `text` whatever it is asked, as one of another version might."""
    file.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    file.chmod(0o755)
    return file
