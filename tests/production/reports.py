"""Figures that tests measure, as a table a file in reports/."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ci.settings import ROOT

FOLDER = ROOT / "reports"


@dataclass(frozen=True)
class Report:
    """The table ``reports/<name>.md``; rows of a later run follow those of earlier ones."""

    name: str
    columns: tuple[str, ...] = ("What", "Figure")

    def row(self, *cells: str) -> None:
        """Append a row; each begins with the time of day in UTC."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{self.name}.md"
        if not path.exists():
            head = ("Time", *self.columns)
            path.write_text(f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n")
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        with path.open("a") as file:
            file.write(f"| {' | '.join((stamp, *cells))} |\n")
