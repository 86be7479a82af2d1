"""Causes are made, their alerts fire and reach Alertmanager; the causes go, and the alerts clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.monitoring import causes
from tests.monitoring.watch import Course

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.monitoring.conftest import Site
    from tests.production.reports import Report


@dataclass(frozen=True)
class Case:
    """An alert, what causes it, and within how many seconds it must have fired and have cleared."""

    alert: str
    what: str
    cause: Callable[[Site], AbstractContextManager[None]]
    fires: float = 180
    clears: float = 240


CASES = {
    "certificate": Case(
        "CertificateExpiring",
        "a certificate of an hour, by a real cert-manager",
        causes.expiring_certificate,
    ),
    "backup": Case(
        "PostgresBackupOld",
        "the metric of the latest backup is two days old, by an exporter in the place of PostgreSQL",
        causes.stale_backup,
    ),
    "queue": Case("ExpertQueueLong", "twelve calls that wait for people", causes.full_queue),
    "memory": Case(
        "CacheHitRateLow",
        "rules that change every second, which voids the memory of decisions",
        causes.forgotten_verdicts,
        fires=300,
        clears=1200,  # at the latest when the window of a quarter of an hour has passed
    ),
    "file system": Case(
        "FuseMountSilent",
        "the processes of an agent's sidecar stopped with SIGSTOP",
        causes.dead_file_system,
    ),
    "store": Case(
        "BridgeStoreNotReady",
        "the store's file locked by another program",
        causes.locked_store,
    ),
    "latency": Case(
        "ValidationSlow",
        "the store's file locked by another program for three of five seconds",
        causes.latency,
        fires=300,
        clears=600,
    ),
    "bridge": Case("BridgeDown", "the only bridge killed each time that it starts", causes.killed_bridge),
}
OF_ITEM_13 = ("memory", "latency", "store", "backup")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proves(13, level="survives") if name in OF_ITEM_13 else ())
        for name in CASES
    ],
)
def test_the_alert_fires_with_its_cause_and_clears_after_it(
    name: str, site: Site, shortened: dict[str, tuple[str, int]], report: Report
) -> None:
    case = CASES[name]
    said, here = shortened[case.alert]
    site.watch.fall(case.alert, 300)
    with case.cause(site):
        pending, fired, told = site.watch.rise(case.alert, case.fires)
    with site.work.hurry():  # what is new outweighs what was sooner
        cleared, forgotten = site.watch.fall(case.alert, case.clears)
    course = Course(pending, fired, told, cleared, forgotten)
    report.row(case.alert, case.what, said, str(here), *course.cells())
    assert fired - pending >= here - 1, "it fired before its `for` had passed"
