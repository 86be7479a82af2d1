"""The reports hold every finding, in forms that other programs read."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from ci.scan.findings import Finding, Kind, Scan, Severity
from ci.scan.policy import ScanException, judge, read_thresholds
from ci.scan.reports import write_reports
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DAY = datetime.date(2026, 11, 23)
BAD = Finding(
    "trivy", Kind.VULNERABILITY, "bridge", "CVE-1", "openssl 3.0", Severity.CRITICAL, "overflow", "3.1"
)
EXCUSED = Finding(
    "checkov", Kind.MANIFEST, "default", "CKV_K8S_15", "Pod.a.b", Severity.UNKNOWN, "pull policy"
)
MINOR = Finding("trivy", Kind.VULNERABILITY, "bridge", "CVE-2", "zlib 1", Severity.LOW)
EXCEPTION = ScanException("checkov", "CKV_K8S_15", "*", "*", "tags do not move", "platform", DAY)
SCANS = [Scan("trivy", "bridge", 80, (BAD, MINOR)), Scan("checkov", "default", 300, (EXCUSED,))]


def test_every_finding_is_in_every_report(tmp_path: Path) -> None:
    thresholds = read_thresholds(ROOT / "policies" / "scan" / "thresholds.yaml")
    write_reports(tmp_path, SCANS, judge(SCANS, thresholds, [EXCEPTION], DAY))

    table = (tmp_path / "scan.txt").read_text()
    assert "bridge: openssl 3.0: CVE-1 (critical, fixed in 3.1) overflow" in table
    assert [line.split() for line in table.splitlines()[1:3]] == [
        ["trivy", "bridge", "80", "1", "0", "1"],
        ["checkov", "default", "300", "0", "1", "0"],
    ]

    runs = json.loads((tmp_path / "scan.sarif").read_text())["runs"]
    results = {result["ruleId"]: result for one in runs for result in one["results"]}
    assert {name: result["level"] for name, result in results.items()} == {
        "CVE-1": "error",
        "CVE-2": "note",
        "CKV_K8S_15": "note",
    }
    assert results["CKV_K8S_15"]["suppressions"][0]["justification"] == "tags do not move"
    assert "suppressions" not in results["CVE-1"]

    suite = ElementTree.parse(tmp_path / "scan.xml").getroot()  # noqa: S314 - our own
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    (failure,) = suite.iter("failure")
    assert failure.text == str(BAD)
