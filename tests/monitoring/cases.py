"""An alert's course: its cause is made, it fires and reaches Alertmanager; the cause goes, and it clears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.monitoring.watch import Course

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.monitoring.conftest import Site, Waits
    from tests.production.reports import Report


@dataclass(frozen=True)
class Case:
    """An alert, what causes it, and within how many seconds it must have fired and have cleared."""

    alert: str
    what: str
    cause: Callable[[Site], AbstractContextManager[None]]
    fires: float = 180
    clears: float = 240

    def run(self, site: Site, waits: Waits, report: Report) -> None:
        """See the alert through its course, and report its times."""
        said, here = waits[self.alert]
        site.watch.fall(self.alert, 300)
        with self.cause(site):
            pending, fired, told = site.watch.rise(self.alert, self.fires)
        with site.work.hurry():  # what is new outweighs what was sooner
            cleared, forgotten = site.watch.fall(self.alert, self.clears)
        course = Course(pending, fired, told, cleared, forgotten)
        report.row(self.alert, self.what, said, str(here), *course.cells())
        assert fired - pending >= here - 1, "it fired before its `for` had passed"
