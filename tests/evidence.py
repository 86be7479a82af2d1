"""Writes which item of docs/checklist.yaml which tests prove, and how far: `pytest --evidence FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

CHECKLIST = Path(__file__).resolve().parent.parent / "docs" / "checklist.yaml"
LEVELS = ("rendered", "accepted", "running", "survives")
HEAD = """\
# Evidence

<!-- Written by `make evidence` from the results of the tests; the items are in docs/checklist.yaml. -->

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


class Evidence:
    """Collects what passed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[int, dict[str, set[str]]] = {}
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.partition("[")[0]
        if report.failed:
            self.failed.add(test)
        if report.when == "call" and report.passed:
            for name, (number, level) in _proofs(report.user_properties):
                assert name == "proves"
                self.found.setdefault(number, {}).setdefault(level, set()).add(test)

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(HEAD + "".join(self._row(number, item) for number, item in checklist().items()))

    def _row(self, number: int, item: str) -> str:
        levels = {level: tests - self.failed for level, tests in self.found.get(number, {}).items()}
        best = next((level for level in reversed(LEVELS) if levels.get(level)), "")
        tests = sorted({f"`{test}`" for found in levels.values() for test in found})
        return f"| {number} | {item} | {best} | {'<br>'.join(tests)} |\n"


def _proofs(properties: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in properties if name == "proves"]
