"""A small production release on its own PostgreSQL and Redis cluster: their targets, and every panel about them."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from ci import images as image_builds
from ci.console import Steps
from ci.operators import images as operator_images
from ci.release import CHART
from ci.settings import NAMESPACE, NODE_NETWORK, RELEASE
from lighthouse_harness.manifests import merge
from tests.live.support import eventually
from tests.monitoring.asked import Asked, boards_of
from tests.monitoring.conftest import ADMITTED, INTERVAL, VALUES
from tests.monitoring.work import Work
from tests.production.postgres import runbook
from tests.production.postgres.database import CLUSTER, Database, write_authority
from tests.production.postgres.s3 import SPACE, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster
    from tests.monitoring.conftest import Site

PROFILE = CHART / "profiles" / "production-small.yaml"
BOARDS = {"postgres", "redis", "capacity"}
TARGETS = {
    f"{NAMESPACE}/{RELEASE}-bridge": 3,
    f"{NAMESPACE}/{CLUSTER}": 3,
    f"{NAMESPACE}/{RELEASE}-redis": 12,
    f"{NAMESPACE}/{RELEASE}-redis-keeper": 1,
}
WORKED_SECONDS = 150
"""Within which every rate has two points, and minutes of it."""
# Volumes are then the node's folders by a kind of volume of which the kubelet tells how full it is.
VOLUME_TYPE = "defaultVolumeType"


def _values(images: dict[str, image_builds.Image], postgresql: image_builds.Image) -> dict[str, Any]:
    """What the local cluster changes of the profile, and what Prometheus is to see."""
    nodes = [{"ipBlock": {"cidr": str(NODE_NETWORK)}}]
    stores = {
        "networkPolicies": {"databaseClients": nodes, "apiServer": {"peers": nodes}},
        "postgres": {
            "image": postgresql.values,
            "antiAffinity": "preferred",
            "podMonitor": {"enabled": True, "interval": INTERVAL},
        },
        "redis": {
            "image": images["redis"].values,
            "keeper": {"image": images["redis-keeper"].values},
            "exporter": {"image": images["redis-exporter"].values},
            "monitoring": {"interval": INTERVAL},
        },
    }
    return merge(merge(ADMITTED, VALUES), stores)


@pytest.fixture(scope="module")
def stored(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The release at work on its stores, with a backup; what was there before is gone, and so is this afterwards."""
    cluster, folder = site.cluster, tmp_path_factory.mktemp("stores")
    site.work.end()
    _remove(cluster)
    steps = Steps(quiet=True)
    built = operator_images.build(steps, image_builds.base_image(steps))
    with contextlib.ExitStack() as stack:
        annotate = ("annotate", "storageclass", "--all", "--overwrite")
        stack.callback(cluster.kubectl, *annotate, f"{VOLUME_TYPE}-")
        cluster.kubectl(*annotate, f"{VOLUME_TYPE}=local")
        stack.callback(_remove, cluster)
        ObjectStore(cluster, built.versitygw.reference, folder)
        values = folder / "values.json"
        values.write_text(json.dumps(_values(site.images, built.postgresql)))
        site.install(PROFILE, values)
        database = Database(cluster, CLUSTER, write_authority(cluster, CLUSTER, folder))
        eventually(database.healthy, 600, "the database is healthy")
        runbook.run("backup", cluster.tools, {"NAMESPACE": NAMESPACE, "DATABASE": CLUSTER})
        work = Work(cluster)
        work.begin()
        stack.callback(work.end)
        time.sleep(WORKED_SECONDS)
        yield site


def _remove(cluster: Cluster) -> None:
    """Take away the release with its data, and what stood for PostgreSQL."""
    cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--ignore-not-found")
    mine = ["-n", NAMESPACE, "--ignore-not-found"]
    for kind in ("podmonitors", "prometheusrules", "networkpolicies", "clusters.postgresql.cnpg.io"):
        cluster.kubectl("delete", kind, "--all", *mine)
    cluster.kubectl("delete", "pod", f"{CLUSTER}-1", *mine)
    cluster.kubectl("delete", "pvc", "--all", *mine)
    # A new database does not archive over what another left.
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found")


@pytest.fixture(scope="module")
def asked(stored: Site) -> Asked:
    """What the panels about stores and volumes returned since the work began."""
    boards = {name: board for name, board in boards_of(stored.cluster).items() if name in BOARDS}
    assert set(boards) == BOARDS
    return Asked(stored.watch, boards, WORKED_SECONDS)


@pytest.mark.proves(14, 15, level="running")
def test_every_target_of_stores_is_up(stored: Site) -> None:
    found = [target for target in stored.watch.targets() if target["labels"]["job"] in TARGETS]
    up = [target["labels"]["job"] for target in found if target["health"] == "up"]
    assert {job: up.count(job) for job in TARGETS} == TARGETS
    assert [target["lastError"] for target in found if target["lastError"]] == []


@pytest.mark.proves(15, level="running")
def test_every_panel_about_stores_and_volumes_returns_data(asked: Asked) -> None:
    assert len(asked.lines) > 35
    print(f"{len(asked.lines) - len(asked.empty())} of {len(asked.lines)} queries returned data")
    assert (sorted(asked.empty()), sorted(asked.blank())) == ([], [])


def test_each_dashboard_of_stores_can_be_drawn(
    asked: Asked, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    for picture in asked.draw(request.config.getoption("--pictures") or tmp_path):
        assert 2_000 < picture.stat().st_size < 150_000, picture
