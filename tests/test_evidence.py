"""The evidence table names items and tests that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evidence import LEVELS, ROW, checklist, read_table

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.proves(38, level="running")
def test_evidence_table_lists_every_item_and_only_tests_that_exist() -> None:
    rows = [ROW.fullmatch(line) for line in (ROOT / "docs" / "evidence.md").read_text().splitlines()]
    found = {int(row[1]): row for row in rows if row}
    assert {number: row[2] for number, row in found.items()} == checklist()
    missing = []
    for row in found.values():
        assert row[3] in {"", *LEVELS}
        assert bool(row[3]) == bool(row[4])
        for file, test in re.findall(r"`([^:`]+)::(\w+)`", row[4]):
            if f"def {test}(" not in ((ROOT / file).read_text() if (ROOT / file).exists() else ""):
                missing.append(f"{row[1]}: {file}::{test}")
    assert missing == []


def test_a_run_replaces_what_its_own_tests_showed_and_keeps_the_rest(tmp_path: Path) -> None:
    own = "tests/ci/test_rollout.py::test_three_sprints_of_seven_days_follow_each_other"
    other = "tests/live/test_replicas.py::test_a_rolling_upgrade_fails_no_request"
    table = tmp_path / "evidence.md"
    table.write_text(
        f"| 17 | {checklist()[17]} | survives | `{other}` (survives) |\n| 22 | x | running | `{own}` (running) |\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", own, "--evidence", str(table)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = {number: proofs for number, proofs in read_table(table.read_text()).items() if proofs}
    assert found == {17: {other: "survives"}, 35: {own: "rendered"}}
