"""A judgement as a table for people, SARIF for code hosts and JUnit for pipelines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

from ci.scan.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ci.scan.findings import Finding, Scan
    from ci.scan.policy import Judgement

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning"}


def write_reports(folder: Path, scans: Sequence[Scan], judgement: Judgement) -> None:
    """Write scan.txt, scan.sarif and scan.xml."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scan.txt").open("w") as file:
        print_table(Console(file=file, width=200), scans, judgement)
    (folder / "scan.sarif").write_text(json.dumps(sarif(judgement), indent=1))
    junit(scans, judgement).write(folder / "scan.xml", encoding="unicode", xml_declaration=True)


def print_table(console: Console, scans: Sequence[Scan], judgement: Judgement) -> None:
    """What was scanned, a line each, then every finding that fails and every problem."""
    table = Table(box=None, pad_edge=False)
    for column in ("scanner", "target", "examined", "failing", "accepted", "below the thresholds"):
        table.add_column(column, justify="left" if column in {"scanner", "target"} else "right")
    for scan in scans:
        groups = (judgement.failing, [finding for finding, _ in judgement.accepted], judgement.tolerated)
        counts = [sum(finding in scan.findings for finding in group) for group in groups]
        table.add_row(scan.scanner, scan.target, str(scan.examined), *map(str, counts))
    console.print(table)
    for line in (*map(str, judgement.failing), *judgement.problems):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def sarif(judgement: Judgement) -> dict[str, Any]:
    """All findings in SARIF 2.1.0; an accepted one is suppressed with its reason."""
    reasons = {finding: exception.reason for finding, exception in judgement.accepted}
    everything = [*judgement.failing, *reasons, *judgement.tolerated]
    runs = []
    for scanner in sorted({finding.scanner for finding in everything}):
        own = [finding for finding in everything if finding.scanner == scanner]
        rules = {finding.check: {"text": finding.title or finding.check} for finding in own}
        driver = {
            "name": scanner,
            "rules": [{"id": check, "shortDescription": text} for check, text in sorted(rules.items())],
        }
        results = [_sarif_result(finding, reasons.get(finding)) for finding in own]
        runs.append({"tool": {"driver": driver}, "results": results})
    return {"$schema": SARIF, "version": "2.1.0", "runs": runs}


def _sarif_result(finding: Finding, reason: str | None) -> dict[str, Any]:
    place = {"physicalLocation": {"artifactLocation": {"uri": finding.target.replace(" ", "%20")}}}
    result: dict[str, Any] = {
        "ruleId": finding.check,
        "level": _LEVELS.get(finding.severity, "note"),
        "message": {"text": str(finding)},
        "locations": [place],
    }
    if reason:
        result["suppressions"] = [{"kind": "external", "justification": reason}]
    return result


def junit(scans: Sequence[Scan], judgement: Judgement) -> ElementTree.ElementTree[ElementTree.Element]:
    """A test case for each target, which fails with its findings, and one for the exceptions."""
    suite = ElementTree.Element("testsuite", name="scan")
    failures = 0
    for scan in scans:
        case = ElementTree.SubElement(suite, "testcase", classname=scan.scanner, name=scan.target)
        found = [str(finding) for finding in judgement.failing if finding in scan.findings]
        if found:
            failures += 1
            ElementTree.SubElement(case, "failure", message=f"{len(found)} findings").text = "\n".join(found)
    case = ElementTree.SubElement(suite, "testcase", classname="policy", name="exceptions")
    if judgement.problems:
        failures += 1
        ElementTree.SubElement(case, "failure", message="exceptions").text = "\n".join(judgement.problems)
    suite.set("tests", str(len(scans) + 1))
    suite.set("failures", str(failures))
    return ElementTree.ElementTree(suite)
