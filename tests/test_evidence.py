"""The evidence table names items and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.evidence import LEVELS, checklist

ROOT = Path(__file__).resolve().parent.parent
ROW = re.compile(r"\| (\d+) \| (.+?) \| (\w*) \| (.*) \|")


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
