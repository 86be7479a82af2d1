"""pip-audit over the locks: every locked package is asked about at an advisory service, or the scan fails."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ci.console import Failure
from ci.scan.findings import Finding, Kind, Scan, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class _Vulnerability(msgspec.Struct, frozen=True):
    id: str
    fix_versions: tuple[str, ...] = ()
    description: str = ""


class _Dependency(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    skip_reason: str = ""
    vulns: tuple[_Vulnerability, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    dependencies: tuple[_Dependency, ...]


@dataclass(frozen=True)
class PipAudit:
    """pip-audit in the scanners' environment, asking the OSV service at `service` (its own default if empty)."""

    python: Path
    service: str = ""

    def lock(self, name: str, file: Path) -> Scan:
        """Known vulnerabilities of a lock's packages; `Failure` if one of them was not asked about."""
        locked = {line.partition("==")[0].lower().replace("_", "-").replace(".", "-") for line in _pins(file)}
        if not locked:
            raise Failure(f"{name} was not scanned: {file} pins no package.")
        address = ["--osv-url", self.service] if self.service else []
        options = ["--strict", "--disable-pip", "--require-hashes", "--vulnerability-service", "osv"]
        output = ["--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(
            [self.python, "-m", "pip_audit", *options, *address, *output, "--requirement", file],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            report = msgspec.json.decode(done.stdout, type=_Report)
        except msgspec.MsgspecError:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            raise Failure(
                f"{name} was not scanned, for pip-audit gave no report: {said[-1][:300]}. "
                "Where the advisory service is out of reach, name a mirror of OSV's API by OSV_URL."
            ) from None
        return _read(name, report, locked)


def _pins(file: Path) -> Sequence[str]:
    return [line.split()[0] for line in file.read_text().splitlines() if "==" in line and line[0].isalnum()]


def _read(name: str, report: _Report, locked: set[str]) -> Scan:
    asked = {one.name.lower() for one in report.dependencies if not one.skip_reason}
    if unasked := sorted(locked - asked):
        raise Failure(
            f"{name} was not scanned: pip-audit did not ask about {', '.join(unasked)}; take a service that knows them."
        )
    findings = tuple(
        Finding(
            "pip-audit",
            Kind.VULNERABILITY,
            name,
            found.id,
            f"{one.name} {one.version}",
            Severity.HIGH,  # the service gives none that pip-audit passes on
            found.description.partition("\n")[0][:120],
            ", ".join(found.fix_versions),
        )
        for one in report.dependencies
        for found in one.vulns
    )
    return Scan("pip-audit", name, len(asked), findings)
