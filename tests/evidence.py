"""Writes which item of docs/checklist.yaml which tests prove, and how far: `pytest --evidence FILE`.

What the file says of tests that did not run this time stays, since the heavier suites run apart.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKLIST = Path(__file__).resolve().parent.parent / "docs" / "checklist.yaml"
LEVELS = ("rendered", "accepted", "running", "survives")
ROW = re.compile(r"\| (\d+) \| (.+?) \| (\w*) \| (.*) \|")
PROOF = re.compile(r"`([^`]+)` \((\w+)\)")
HEAD = """\
# Evidence

<!-- Written by `make evidence`, and by the heavier suites with EVIDENCE=1, from the results of the tests; the items
are in docs/checklist.yaml. -->

Rendered: offline gates hold. Accepted: a real API server takes it. Running: real controllers, kubelet and processes
run it. Survives: the fault it exists for was injected. An item without a level is not proven yet.

| # | Item | Level | Proven by |
|---|---|---|---|
"""


def checklist() -> dict[int, str]:
    """The items by their number."""
    items: dict[int, str] = yaml.safe_load(CHECKLIST.read_text())
    return items


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", type=Path, metavar="FILE", help="write the evidence table to FILE")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "proves(*items, level): items of docs/checklist.yaml that the test proves"
    )
    if config.getoption("--evidence"):
        config.pluginmanager.register(Evidence(config.getoption("--evidence")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    known = checklist()
    for item in items:
        for mark in item.iter_markers("proves"):
            level = mark.kwargs.get("level")
            if level not in LEVELS or not mark.args or not set(mark.args) <= known.keys():
                raise pytest.UsageError(
                    f"{item.nodeid}: proves({mark.args}, level={level!r}) is not in {CHECKLIST.name}."
                )
            item.user_properties += [("proves", (number, level)) for number in mark.args]


def read_table(text: str) -> dict[int, dict[str, str]]:
    """The level of each test that a table names, by item."""
    rows = [ROW.fullmatch(line) for line in text.splitlines()]
    return {int(row[1]): dict(PROOF.findall(row[4])) for row in rows if row}


class Evidence:
    """Collects what passed and lays it over what the file says."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[int, dict[str, str]] = {}
        self.ran: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed.add(test)
        if report.skipped:
            return
        self.ran.add(test)
        if report.when == "call" and report.passed:
            for name, (number, level) in _proofs(report.user_properties):
                assert name == "proves"
                self.found.setdefault(number, {})[test] = level

    def pytest_sessionfinish(self) -> None:
        known = read_table(self.file.read_text()) if self.file.exists() else {}
        rows = []
        for number, item in checklist().items():
            kept = {test: level for test, level in known.get(number, {}).items() if test not in self.ran}
            proofs = {**kept, **self.found.get(number, {})}
            rows.append(_row(number, item, {test: proofs[test] for test in proofs.keys() - self.failed}))
        self.file.write_text(HEAD + "".join(rows))


def _row(number: int, item: str, proofs: dict[str, str]) -> str:
    best = next((level for level in reversed(LEVELS) if level in proofs.values()), "")
    tests = "<br>".join(f"`{test}` ({level})" for test, level in sorted(proofs.items()))
    return f"| {number} | {item} | {best} | {tests} |\n"


def _proofs(properties: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in properties if name == "proves"]
