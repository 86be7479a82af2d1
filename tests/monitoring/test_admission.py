"""What the chart makes with its default values is accepted, seen and evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE, RELEASE
from tests.live.support import AGENTS, CSI
from tests.monitoring.admission import see_accepted, see_rules_evaluated, see_targets

if TYPE_CHECKING:
    from tests.monitoring.conftest import Site

# The jobs that Prometheus makes of the chart's PodMonitors, and how many targets each has: one bridge, two agents with
# two ports each, one driver, and one Redis with its exporter and its guard.
TARGETS = {
    f"{NAMESPACE}/{RELEASE}-bridge": 1,
    f"{AGENTS}/{RELEASE}-agents": 4,
    f"{CSI}/{RELEASE}-fuse-csi": 1,
    f"{NAMESPACE}/{RELEASE}-redis": 2,
}


@pytest.mark.proves(14, 15, level="running")
def test_every_target_of_the_release_is_up(site: Site) -> None:
    see_targets(site, TARGETS)


@pytest.mark.proves(15, level="running")
def test_every_alert_and_record_of_the_release_is_evaluated_without_an_error(site: Site) -> None:
    see_rules_evaluated(site, 50)


@pytest.mark.proves(15, level="accepted")
@pytest.mark.parametrize(("kind", "fewest"), [("podmonitors", 4), ("prometheusrules", 8)])
def test_the_operator_accepts_every_object_of_the_chart(site: Site, kind: str, fewest: int) -> None:
    see_accepted(site, kind, fewest)
