"""checkov over rendered manifests, with the checks of policies/checkov beside its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci.console import Failure
from ci.scan.findings import Finding, Kind, Scan, Severity

OWN = "CKV_LIGHTHOUSE_"
"""How the ids of the checks in policies/checkov begin."""
_KINDS = ("passed_checks", "failed_checks", "skipped_checks", "parsing_errors")


@dataclass(frozen=True)
class Checkov:
    """checkov in the scanners' environment, with a folder of checks."""

    python: Path
    checks: Path

    def manifests(self, files: dict[str, Path]) -> list[Scan]:
        """Unsafe settings in files of manifests, each named by its target.

        `Failure` if a file could not be parsed, had no check tried on it or none of ours, or skips a check.
        """
        words: list[str | Path] = [
            self.python,
            "-m",
            "checkov.main",
            "--framework",
            "kubernetes",
            "--skip-download",
        ]
        words += ["--external-checks-dir", self.checks, "--compact", "--output", "json"]
        words += [word for file in files.values() for word in ("--file", file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        try:
            report = json.loads(done.stdout)
            results: dict[str, list[dict[str, Any]]] = {
                kind: list(report["results"][kind]) for kind in _KINDS
            }
        except (ValueError, KeyError, TypeError):
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or [
                "no message"
            ]
            raise Failure(f"checkov gave no report on {', '.join(files)}: {said[-1][:300]}.") from None
        return [_read(name, file, results) for name, file in files.items()]


def _read(name: str, file: Path, results: dict[str, list[dict[str, Any]]]) -> Scan:
    def of(kind: str) -> list[dict[str, Any]]:
        return [one for one in results[kind] if Path(one["file_abs_path"]) == file.resolve()]

    if str(file) in map(str, results["parsing_errors"]) or str(file.resolve()) in map(
        str, results["parsing_errors"]
    ):
        raise Failure(f"{name} was not scanned: checkov cannot parse {file}.")
    if skipped := of("skipped_checks"):
        first = skipped[0]
        raise Failure(
            f"{name} skips {first['check_id']} on {first['resource']} by an annotation: "
            "write it into policies/scan/exceptions.yaml with its reason instead."
        )
    tried = of("passed_checks") + of("failed_checks")
    if not any(one["check_id"].startswith(OWN) for one in tried):
        raise Failure(f"{name} was not scanned: checkov tried none of the checks of policies/checkov on it.")
    findings = {
        Finding(
            "checkov",
            Kind.MANIFEST,
            name,
            one["check_id"],
            one["resource"],
            Severity(one["severity"] or "UNKNOWN"),
            one["check_name"],
        )
        for one in of("failed_checks")
    }
    return Scan("checkov", name, len(tried), tuple(sorted(findings)))
