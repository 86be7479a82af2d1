"""Trivy as a subprocess: what it is told, and what its answer must hold to be believed."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from ci.console import Failure, run
from ci.scan.findings import Finding, Kind, Scan, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN, PYTHON, GO = "debian", "python-pkg", "gobinary"
"""Kinds of packages by Trivy's names: of the system, of Python, and modules in programs written in Go."""
_QUIET = ("--skip-version-check", "--disable-telemetry")


class _Package(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    version: str = ""


class _Vulnerability(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="VulnerabilityID")
    pkg_name: str
    installed_version: str = ""
    fixed_version: str = ""
    severity: Severity = Severity.UNKNOWN
    title: str = ""


class _Secret(msgspec.Struct, frozen=True, rename="pascal"):
    rule: str = msgspec.field(name="RuleID")
    severity: Severity = Severity.UNKNOWN
    title: str = ""
    start_line: int = 0


class _Misconfiguration(msgspec.Struct, frozen=True, rename="pascal"):
    id: str = msgspec.field(name="ID")
    status: str
    severity: Severity = Severity.UNKNOWN
    title: str = ""


class _Summary(msgspec.Struct, frozen=True, rename="pascal"):
    successes: int = 0
    failures: int = 0


class _Result(msgspec.Struct, frozen=True, rename="pascal"):
    target: str
    kind: str = msgspec.field(name="Type", default="")
    packages: tuple[_Package, ...] = ()
    vulnerabilities: tuple[_Vulnerability, ...] = ()
    secrets: tuple[_Secret, ...] = ()
    misconfigurations: tuple[_Misconfiguration, ...] = ()
    misconf_summary: _Summary | None = None


class _System(msgspec.Struct, frozen=True, rename="pascal"):
    family: str = ""
    name: str = ""
    end_of_life: bool = msgspec.field(name="EOSL", default=False)


class _Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    system: _System | None = msgspec.field(name="OS", default=None)


class _Report(msgspec.Struct, frozen=True, rename="pascal"):
    metadata: _Metadata = _Metadata()
    results: tuple[_Result, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What a scan of an image must have seen, or it is not believed."""

    family: str = "debian"
    release: str = "12"
    packages: tuple[str, ...] = (DEBIAN, PYTHON)
    """The kinds of packages in it, all of them: the database is only asked to know these."""


@dataclass(frozen=True)
class Trivy:
    """The program and the folder with its vulnerability database; it is never given the network."""

    program: Path
    database: Path

    def image(self, name: str, layout: Path, expected: Expected = Expected()) -> Scan:
        """Vulnerabilities and secrets in an image, given as a folder in the OCI layout.

        `Failure` if Trivy did not know the image's system, or saw other kinds of packages than expected.
        """
        options = ["--input", str(layout), "--scanners", "vuln,secret", "--list-all-pkgs"]
        updates = ["--skip-db-update", "--skip-java-db-update", "--skip-vex-repo-update", "--offline-scan"]
        with self._cache() as cache:
            report = self._report(cache, "image", *options, *updates)
        return read_image(name, report, expected)

    def secrets(self, name: str, folder: Path) -> Scan:
        """Secrets in the files of a folder."""
        examined = sum(1 for path in folder.rglob("*") if path.is_file())
        if not examined:
            raise Failure(f"{name} was not scanned for secrets: {folder} has no file.")
        with self._cache() as cache:
            report = self._report(cache, "filesystem", "--scanners", "secret", folder)
        return Scan("trivy", name, examined, tuple(_secrets(name, report)))

    def manifests(self, name: str, file: Path) -> Scan:
        """Unsafe settings in a file of Kubernetes manifests; `Failure` if Trivy tried no check on it."""
        options = ["--skip-check-update", "--misconfig-scanners", "kubernetes", "--include-non-failures"]
        with self._cache() as cache, tempfile.TemporaryDirectory(prefix="lighthouse-manifests-") as folder:
            split_objects(file.read_text(), Path(folder))
            return read_manifests(name, self._report(cache, "config", *options, folder))

    def sbom(self, layout: Path) -> bytes:
        """An image's bill of materials in CycloneDX's JSON."""
        with self._cache() as cache:
            words = self._words(cache, "image")
            return run([*words, "--format", "cyclonedx", "--input", layout, "--offline-scan"]).encode()

    def _report(self, cache: Path, command: str, *options: str | Path) -> _Report:
        said = run([*self._words(cache, command), "--format", "json", *options])
        try:
            return msgspec.json.decode(said, type=_Report)
        except msgspec.MsgspecError as error:
            raise Failure(
                f"'trivy {command}' gave no report that can be read: {error}. Pin a Trivy that does."
            ) from error

    def _words(self, cache: Path, command: str) -> list[str | Path]:
        return [self.program, "--quiet", "--cache-dir", cache, command, *_QUIET]

    @contextmanager
    def _cache(self) -> Iterator[Path]:
        """A cache of its own for each scan: what an earlier one remembered hides what this one should see."""
        with tempfile.TemporaryDirectory(prefix="lighthouse-trivy-") as folder:
            (Path(folder) / "db").symlink_to(self.database.resolve())
            yield Path(folder)


def read_image(name: str, report: _Report, expected: Expected) -> Scan:
    """What a report on an image says; `Failure` if it is not a report on what was expected."""
    system = report.metadata.system
    if (
        system is None
        or system.family != expected.family
        or system.name.partition(".")[0] != expected.release
    ):
        seen = f"{system.family} {system.name}" if system else "none"
        raise Failure(
            f"{name} was not scanned: its system must be {expected.family} {expected.release}, and Trivy recognised {seen}; "
            "build it on a supported base."
        )
    packages: dict[str, int] = {}
    for result in report.results:
        if result.packages:
            packages[result.kind] = packages.get(result.kind, 0) + len(result.packages)
    if unseen := [kind for kind in expected.packages if kind not in packages]:
        raise Failure(
            f"{name} was not scanned: Trivy found no package of {' and '.join(unseen)} in it; keep the package lists in the image."
        )
    if unexpected := sorted(set(packages) - set(expected.packages)):
        raise Failure(
            f"{name} was not scanned: it holds packages of {' and '.join(unexpected)}, which policies/scan/images.yaml "
            "does not name; add them there, so that the database has to know them."
        )
    return Scan("trivy", name, sum(packages.values()), tuple(_of_image(name, report, system)))


def _of_image(name: str, report: _Report, system: _System) -> Iterator[Finding]:
    if system.end_of_life:
        subject = f"{system.family} {system.name}"
        yield Finding(
            "trivy",
            Kind.VULNERABILITY,
            name,
            "end-of-life",
            subject,
            Severity.CRITICAL,
            fixed="a newer release",
        )
    for result in report.results:
        for found in result.vulnerabilities:
            yield Finding(
                "trivy",
                Kind.VULNERABILITY,
                name,
                found.id,
                f"{found.pkg_name} {found.installed_version}",
                found.severity,
                found.title,
                found.fixed_version,
            )
    yield from _secrets(name, report)


def _secrets(name: str, report: _Report) -> Iterator[Finding]:
    for result in report.results:
        for found in result.secrets:
            place = f"{result.target.lstrip('/')}:{found.start_line}"
            yield Finding("trivy", Kind.SECRET, name, found.rule, place, found.severity, found.title)


def split_objects(text: str, folder: Path) -> None:
    """Write each document to a file `Kind.namespace.name.yaml`, since Trivy's reports name files and not objects."""
    loader = yaml.CSafeLoader(text)
    while loader.check_node():
        content = loader.construct_document(loader.get_node()) or {}
        metadata = content.get("metadata") or {}
        words = (content.get("kind", ""), metadata.get("namespace", "default"), metadata.get("name", ""))
        (folder / f"{'.'.join(words)}.yaml").write_text(yaml.safe_dump(content))


def read_manifests(name: str, report: _Report) -> Scan:
    """What a report on manifests says; `Failure` if no check was tried."""
    summaries = [result.misconf_summary for result in report.results if result.misconf_summary]
    examined = sum(summary.successes + summary.failures for summary in summaries)
    if not examined:
        raise Failure(
            f"{name} was not scanned: Trivy tried no check on its manifests; give it Kubernetes objects."
        )
    findings = {
        Finding(
            "trivy",
            Kind.MANIFEST,
            name,
            found.id,
            result.target.removesuffix(".yaml"),
            found.severity,
            found.title,
        )
        for result in report.results
        for found in result.misconfigurations
        if found.status == "FAIL"
    }
    return Scan("trivy", name, examined, tuple(sorted(findings)))
