"""Alerts of a release with default values, each with its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.monitoring import causes
from tests.monitoring.cases import Case

if TYPE_CHECKING:
    from tests.monitoring.conftest import Site, Waits
    from tests.production.reports import Report

CASES = {
    "certificate": Case(
        "CertificateExpiring",
        "a certificate of an hour, by a real cert-manager",
        causes.expiring_certificate,
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
    "edge": Case(
        "EdgeErrors",
        "the only bridge killed each time that it starts, and asked through Traefik",
        causes.killed_bridge,
        clears=420,  # at the latest when its window of five minutes has passed
    ),
    "bridge": Case("BridgeDown", "the only bridge killed each time that it starts", causes.killed_bridge),
}
OF_ITEM_13 = ("memory", "latency", "store")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.proves(13, level="survives") if name in OF_ITEM_13 else ())
        for name in CASES
    ],
)
def test_the_alert_fires_with_its_cause_and_clears_after_it(
    name: str, site: Site, shortened: Waits, report: Report
) -> None:
    CASES[name].run(site, shortened, report)
