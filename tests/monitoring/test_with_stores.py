"""A small production release on its own PostgreSQL and Redis cluster: its targets, the panels about them, and alerts."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from ci import images as image_builds
from ci.console import Steps
from ci.operators import images as operator_images
from ci.release import CHART, uninstall
from ci.settings import NAMESPACE, NODE_NETWORK, RELEASE
from lighthouse_harness.manifests import merge
from tests.live.support import AGENTS, CSI, eventually
from tests.monitoring import store_causes
from tests.monitoring.admission import see_accepted, see_rules_evaluated, see_targets
from tests.monitoring.asked import Asked, boards_of
from tests.monitoring.cases import Case
from tests.monitoring.conftest import ADMITTED, INTERVAL, VALUES, shorten
from tests.monitoring.plain import plain_prometheus
from tests.monitoring.work import Work
from tests.production.postgres.database import CLUSTER, Database, write_authority
from tests.production.postgres.s3 import SPACE, ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster
    from tests.monitoring.conftest import Site, Waits
    from tests.monitoring.watch import Watch
    from tests.production.reports import Report

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
CASES = {
    "backup": Case(
        "PostgresBackupOld",
        "the Barman plugin's marker of the latest backup set two days back, until a new backup",
        store_causes.stale_backup,
    ),
    "replicas": Case(
        "PostgresReplicasMissing",
        "PostgreSQL stopped on both replicas",
        store_causes.fenced_replicas,
    ),
    "keeper": Case("RedisKeeperDown", "the keeper scaled to nought", store_causes.missing_keeper),
}
# Volumes are then the node's folders by a kind of volume of which the kubelet tells how full it is.
VOLUME_TYPE = "defaultVolumeType"


def _values(images: dict[str, image_builds.Image], postgresql: image_builds.Image) -> dict[str, Any]:
    """What the local cluster changes of the profile, and what Prometheus is to see."""
    nodes = [{"ipBlock": {"cidr": str(NODE_NETWORK)}}]
    stores = {
        "networkPolicies": {"databaseClients": nodes, "apiServer": {"peers": nodes}},
        "monitoring": {"scrapeConfig": True},
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
        store_causes.back_up(site)
        site.work = Work(cluster)
        site.work.begin()
        stack.callback(site.work.end)
        time.sleep(WORKED_SECONDS)
        yield site


def _remove(cluster: Cluster) -> None:
    """Take away the release with its data."""
    uninstall(cluster, RELEASE, NAMESPACE)
    mine = ["-n", NAMESPACE, "--ignore-not-found"]
    for kind in ("clusters.postgresql.cnpg.io", "pvc"):
        # A pod that stays would hold its volume for ever.
        cluster.kubectl("delete", kind, "--all", *mine, "--timeout=180s")
    # A new database does not archive over what another left.
    cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found")


@pytest.fixture(scope="module")
def asked(stored: Site) -> Asked:
    """What the panels about stores and volumes returned since the work began."""
    boards = {name: board for name, board in boards_of(stored.cluster).items() if name in BOARDS}
    assert set(boards) == BOARDS
    return Asked(stored.watch, boards, time.time() - WORKED_SECONDS)


@pytest.mark.proves(14, 15, level="running")
def test_every_target_of_stores_is_up(stored: Site) -> None:
    see_targets(stored, TARGETS)


@pytest.mark.proves(15, level="running")
def test_every_alert_and_record_about_stores_is_evaluated_without_an_error(stored: Site) -> None:
    see_rules_evaluated(stored, 60)


@pytest.mark.proves(15, level="accepted")
@pytest.mark.parametrize(("kind", "fewest"), [("podmonitors", 4), ("prometheusrules", 8)])
def test_the_operator_accepts_every_object_about_stores(stored: Site, kind: str, fewest: int) -> None:
    see_accepted(stored, kind, fewest)


@pytest.mark.proves(15, level="running")
def test_a_prometheus_without_the_operator_reads_the_same_targets(stored: Site) -> None:
    def read(watch: Watch) -> dict[tuple[str, ...], str]:
        """The health of each target of the release, by the labels that rules know it by and its address."""
        return {
            (*(target["labels"][name] for name in ("namespace", "pod", "node")), target["scrapeUrl"]): target[
                "health"
            ]
            for target in watch.targets()
            if target["labels"].get("namespace") in {NAMESPACE, AGENTS, CSI}
        }

    wanted = read(stored.watch)
    assert len(wanted) > sum(TARGETS.values())
    with plain_prometheus(stored) as plain:
        eventually(lambda: read(plain) == wanted and set(wanted.values()) == {"up"}, 120, f"{wanted}")


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


@pytest.fixture(scope="module")
def shortened_here(stored: Site) -> Waits:
    """How long each alert of this release waits until it fires."""
    return shorten(stored)


# After the pictures, which would show a backup of two days ago.
@pytest.mark.proves(13, level="survives")
@pytest.mark.parametrize("name", CASES)
def test_the_alert_about_a_store_fires_with_its_cause_and_clears_after_it(
    name: str, stored: Site, shortened_here: Waits, report: Report
) -> None:
    CASES[name].run(stored, shortened_here, report)
