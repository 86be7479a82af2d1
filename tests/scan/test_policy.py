"""Which findings fail, which are accepted and until when."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from ci.console import Failure
from ci.scan.findings import Finding, Kind, Scan, Severity
from ci.scan.policy import ScanException, judge, read_exceptions, read_thresholds
from ci.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

POLICIES = ROOT / "policies" / "scan"
TODAY = datetime.date(2026, 11, 23)
THRESHOLDS = read_thresholds(POLICIES / "thresholds.yaml")
ACCEPTED = ScanException("trivy", "CVE-1", "bridge", "openssl *", "not reachable", "security", TODAY)


def finding(severity: Severity = Severity.CRITICAL, fixed: str = "") -> Finding:
    return Finding("trivy", Kind.VULNERABILITY, "bridge", "CVE-1", "openssl 3.0", severity, "", fixed)


def scanned(*findings: Finding) -> list[Scan]:
    return [Scan("trivy", "bridge", 1, findings)]


@pytest.mark.parametrize(
    ("severity", "fixed", "fails"),
    [
        (Severity.CRITICAL, "", True),
        (Severity.HIGH, "3.1", True),
        (Severity.HIGH, "", False),
        (Severity.MEDIUM, "3.1", False),
    ],
)
def test_severity_and_fix_decide(severity: Severity, fixed: str, fails: bool) -> None:
    judgement = judge(scanned(finding(severity, fixed)), THRESHOLDS, [], TODAY)
    assert (len(judgement.failing), len(judgement.tolerated)) == (int(fails), int(not fails))
    assert judgement.passed is not fails


def test_exception_counts_through_its_last_day() -> None:
    judgement = judge(scanned(finding()), THRESHOLDS, [ACCEPTED], TODAY)
    assert judgement.passed
    assert judgement.accepted == ((finding(), ACCEPTED),)


def test_expired_exception_fails_and_accepts_nothing() -> None:
    judgement = judge(scanned(finding()), THRESHOLDS, [ACCEPTED], TODAY + datetime.timedelta(days=1))
    assert judgement.failing == (finding(),)
    assert judgement.problems == (
        "The exception for trivy CVE-1 on bridge openssl * ended on 2026-11-23: security has to judge it anew.",
    )


def test_expired_exception_fails_even_without_a_finding() -> None:
    assert not judge(scanned(), THRESHOLDS, [ACCEPTED], TODAY + datetime.timedelta(days=1)).passed


def test_exception_that_excuses_nothing_fails() -> None:
    judgement = judge(scanned(), THRESHOLDS, [ACCEPTED], TODAY)
    assert judgement.problems == (
        "The exception for trivy CVE-1 on bridge openssl * excuses nothing: remove it.",
    )


def test_exception_for_what_was_not_scanned_is_left_alone() -> None:
    assert judge([Scan("trivy", "agent", 1)], THRESHOLDS, [ACCEPTED], TODAY).passed


@pytest.mark.parametrize("lacking", ["reason", "owner", "expires"])
def test_exception_needs_reason_owner_and_day(lacking: str, tmp_path: Path) -> None:
    fields = {
        "scanner": "trivy",
        "checks": "[CVE-1]",
        "target": "bridge",
        "subject": "openssl",
        "reason": "not reachable",
        "owner": "security",
        "expires": "2027-01-01",
    }
    file = tmp_path / "exceptions.yaml"
    lines = [f"{name}: {value}" for name, value in fields.items() if name != lacking]
    file.write_text("- " + "\n  ".join(lines) + "\n")
    with pytest.raises(Failure, match=f"missing required field `{lacking}`"):
        read_exceptions(file)


def test_threshold_left_out_is_named(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.yaml"
    text = (POLICIES / "thresholds.yaml").read_text()
    file.write_text(text.replace("    HIGH: fixable\n", ""))
    with pytest.raises(Failure, match=r"says nothing about vulnerability\.HIGH"):
        read_thresholds(file)


def test_shipped_exceptions_have_not_expired() -> None:
    exceptions = read_exceptions(POLICIES / "exceptions.yaml")
    assert exceptions
    today = datetime.datetime.now(tz=datetime.UTC).date()
    assert [str(one) for one in exceptions if one.expires < today] == []
