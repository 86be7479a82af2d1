"""Nothing is lost at the edge while bridges and the controller are replaced, pod by pod."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ci.operators import traefik
from ci.settings import NAMESPACE, RELEASE
from tests.live.support import eventually
from tests.production.edge.load import CLIENTS, Load

if TYPE_CHECKING:
    from tests.production.edge.conftest import Release
    from tests.production.edge.outside import Outside
    from tests.production.reports import Report

pytestmark = pytest.mark.live

WORKLOADS = {
    "bridges": (NAMESPACE, f"deployment/{RELEASE}-bridge"),
    "controller": (traefik.NAMESPACE, "deployment/traefik"),
}


@pytest.mark.proves(17, 21, level="survives")
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_rolling_update_loses_no_request(
    edge: Release, outside: Outside, name: str, report: Report
) -> None:
    namespace, workload = WORKLOADS[name]
    with Load(outside, edge.key("operator")) as load:
        eventually(lambda: load.answered > 10 * CLIENTS, 60, "requests before the update")
        begin = time.monotonic()
        edge.cluster.kubectl("rollout", "restart", workload, "-n", namespace)
        edge.cluster.kubectl("rollout", "status", workload, "-n", namespace, "--timeout=300s")
        seconds = time.monotonic() - begin
        before = load.answered
        eventually(lambda: load.answered > before + 10 * CLIENTS, 60, "requests after the update")
    report.row(
        f"Requests lost in an update of the {name} of {seconds:.0f} s",
        f"{len(load.failures)} of {load.answered}",
    )
    assert load.failures == []
