"""Three bridges on the chart's PostgreSQL, installed at once with it, under load while its primary is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ci import images as image_builds
from ci import local
from ci.console import Steps
from ci.release import bridge_service, install, role_key, service_url, uninstall
from ci.settings import NAMESPACE, NODE_NETWORK, RELEASE
from tests.images.bridge.event_load import Load, Session
from tests.live.support import component, eventually, pods
from tests.production.postgres import faults
from tests.production.postgres.conftest import PROFILE
from tests.production.postgres.database import CLUSTER, Database, write_authority
from tests.production.postgres.diagnosis import described, wait_healthy
from tests.production.postgres.limits import LIMITS, Limit
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster

BRIDGES = 3
FAULTS = ("pod of the primary deleted", "postmaster of the primary killed")
# What bridges and their clients add to an outage: a readiness probe every 5 s of which the answer takes up to 3 s, and
# the pause between two attempts.
BRIDGE_SECONDS = 10
CALM_SECONDS = 5
COLUMNS = (
    "Fault",
    "Events stopped, s",
    "at most, s",
    "Another primary",
    "Bridges ready again after, s",
    "Events, as clients were told and as they are stored",
)
REPORT = Report("postgres-bridges", COLUMNS)
INSTALL = Report("postgres-install", ("Installed at once", "Seconds"))


@dataclass(frozen=True)
class Address:
    """The bridges behind their Service."""

    url: str


@dataclass
class Site:
    """The release: three bridges and their database."""

    cluster: Cluster
    database: Database
    service: Address
    keys: dict[str, str]

    def join(self, role: str) -> Session:
        """A session with a role's key."""
        name = f"{role}-{time.monotonic_ns()}"
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        answer = httpx.post(
            self.service.url + "/session/create", json={"agent_id": name}, headers=headers, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return Session(self.service, name, answer.json()["session_token"])

    def processes(self) -> dict[str, int]:
        """The bridges by the identity of their pods, and how often each was restarted."""
        found = pods(self.cluster, NAMESPACE, component("bridge"))
        return {
            pod["metadata"]["uid"]: sum(one["restartCount"] for one in pod["status"]["containerStatuses"])
            for pod in found
        }

    def ready(self) -> bool:
        """Whether all bridges are."""
        status = self.cluster.get("deployment", f"{RELEASE}-bridge", "-n", NAMESPACE)["status"]
        return bool(status.get("readyReplicas", 0) == BRIDGES)

    def problems(self) -> tuple[int, list[Any]]:
        """How far the hash chain reaches and what is wrong in it, from the first event to the last."""
        operator = self.join("operator")
        at: dict[str, Any] = {"after": 0, "hash": "0" * 64, "limit": 5000}
        found: list[Any] = []
        while True:
            answer = httpx.get(
                self.service.url + "/events/verify", params=at, headers=operator.headers, timeout=60
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["problems"]
            if not page["more"]:
                return int(page["sequence"]), found
            at = {**at, "after": page["sequence"], "hash": page["hash"]}


@pytest.fixture(scope="module")
def bridge_image(cluster: Cluster) -> image_builds.Image:
    """The image of the bridge, on all nodes."""
    assert cluster.kubeconfig
    return local.product_on_nodes(Steps(quiet=True), ["bridge"])["bridge"]


@pytest.fixture(scope="module")
def site(
    cluster: Cluster,
    values: Path,
    bridge_image: image_builds.Image,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """A new release: database, tables and bridges by one installation; the last of this suite, so it stays."""
    folder = tmp_path_factory.mktemp("bridges")
    remove(cluster)
    faults.bound_volumes()
    own = {
        "bridge": {
            "enabled": True,
            "image": bridge_image.values,
            # Redis has tests of its own, and the machine has two cores.
            "redis": {"own": False},
            # The load is as fast as the database.
            "limits": {"agentPerMinute": 0},
        },
        # The archive of the release before would be in the way of another cluster of its name.
        "postgres": {"backup": {"enabled": False}},
        "networkPolicies": {"clients": [{"ipBlock": {"cidr": str(NODE_NETWORK)}}]},
    }
    (folder / "bridges.json").write_text(json.dumps(own))
    files = [str(path) for path in (PROFILE, values, folder / "bridges.json")]
    begin = time.monotonic()
    install(cluster, RELEASE, NAMESPACE, [f"--values={file}" for file in files], timeout="15m")
    INSTALL.row("three bridges on three instances of PostgreSQL", f"{time.monotonic() - begin:.0f}")
    database = Database(cluster, CLUSTER, write_authority(cluster, CLUSTER, folder))
    wait_healthy(database, 600)
    keys = {}
    for role in ("builder", "expert", "operator"):
        with role_key(cluster, RELEASE, NAMESPACE, role) as key:
            keys[role] = key.read_text().strip()
    return Site(cluster, database, Address(service_url(bridge_service(cluster, RELEASE, NAMESPACE))), keys)


def remove(cluster: Cluster) -> None:
    """Remove what the other tests installed, the database and its volumes too, which outlive a release."""
    uninstall(cluster, RELEASE, NAMESPACE)
    gone = ("-n", NAMESPACE, "--ignore-not-found", "--wait", "--timeout=5m")
    cluster.kubectl("delete", "clusters.postgresql.cnpg.io", "--all", *gone)
    cluster.kubectl("delete", "pvc", "-l", f"cnpg.io/cluster={CLUSTER}", *gone)


def test_one_installation_makes_database_tables_and_bridges(site: Site) -> None:
    restarts = site.processes()
    assert len(restarts) == BRIDGES
    assert set(restarts.values()) == {0}, "a bridge ended while it waited for the tables"
    assert site.ready()
    (job,) = (
        item
        for item in site.cluster.get("jobs", "-n", NAMESPACE)["items"]
        if item["metadata"]["name"].startswith(f"{RELEASE}-migration-")
    )
    assert job["status"].get("succeeded") == 1
    assert job["status"].get("failed", 0) == 0
    owners = site.database.superuser(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'lighthouse'"
    )
    assert owners == "migrator"


@contextlib.contextmanager
def struck(site: Site, fault: str, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """Requires what bridges promise about a fault that the body makes of the primary, the pod given to it, under load;
    reports it."""
    limit: Limit = LIMITS[fault]
    wait_healthy(site.database, 400)
    eventually(site.ready, 120, "three bridges are ready")
    before, old = site.processes(), site.database.primary()
    load = Load([site.service], site.join("builder"), site.join("expert"))
    load.begin()
    try:
        time.sleep(CALM_SECONDS)
        assert len(load.acknowledged) > CALM_SECONDS, "no steady load"
        begin = time.monotonic()
        yield old
        await_acknowledged(load, begin, site)
        eventually(site.ready, 120, "three bridges are ready again")
        ready = time.monotonic() - begin
    finally:
        load.stop.set()
    moved = site.database.primary() != old
    told = load.finish()
    stopped = pause(load.times, begin)
    after = site.processes()
    last, problems = site.problems()
    REPORT.row(
        fault,
        f"{stopped:.1f}",
        f"{limit.seconds + BRIDGE_SECONDS:.0f}",
        "yes" if moved else "no",
        f"{ready:.0f}",
        told,
    )
    with capsys.disabled():
        print(f"\n{fault}: events stopped for {stopped:.1f} s; {told}; chain verified to {last}")
    assert after == before, "a bridge was restarted or replaced"
    assert problems == []
    assert last >= max(load.acknowledged.values())
    assert moved or not limit.moves, f"{old} is the primary still"
    assert stopped <= limit.seconds + BRIDGE_SECONDS, (
        f"{fault}: events stopped for {stopped:.1f} s, more than {limit.seconds:.0f} s ({limit.why}) and "
        f"{BRIDGE_SECONDS} s of the bridges"
    )


def await_acknowledged(load: Load, since: float, site: Site) -> None:
    """Wait until events were acknowledged again after a pause, and steadily."""
    deadline = time.monotonic() + 300
    while sum(moment > since + CALM_SECONDS for moment in load.times) < 50:
        assert time.monotonic() < deadline, f"no events within 300 s of the fault\n{described(site.database)}"
        time.sleep(0.2)


def pause(times: list[float], since: float) -> float:
    """The longest time between two acknowledgements, of those that ended after `since`."""
    ordered = sorted(times)
    pairs = [pair for pair in itertools.pairwise(ordered) if pair[1] >= since]
    assert pairs, "no event was acknowledged since then"
    return max(after - before for before, after in pairs)


@pytest.mark.proves(9, level="survives")
def test_bridges_follow_when_the_primarys_pod_is_deleted(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with struck(site, FAULTS[0], capsys) as primary:
        faults.delete_pod(site.database, primary)
        eventually(
            lambda: site.database.status()["currentPrimary"] not in {primary, "pending"},
            300,
            "another primary",
        )


@pytest.mark.proves(9, level="survives")
def test_bridges_go_on_when_the_primarys_postmaster_is_killed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with struck(site, FAULTS[1], capsys) as primary:
        faults.kill_postmaster(site.database, primary)


def test_bridges_ask_replicas_by_option(site: Site) -> None:
    before = site.processes()
    words = ["--reuse-values", "--set=bridge.database.readReplicas=true"]
    install(site.cluster, RELEASE, NAMESPACE, words, timeout="10m")
    eventually(lambda: len(site.processes()) == BRIDGES, 120, "the bridges before are gone")
    assert not before.keys() & site.processes().keys()
    reader = site.join("expert")
    for _ in range(30):
        answer = httpx.get(site.service.url + "/events?limit=5", headers=reader.headers, timeout=20)
        assert answer.status_code == 200, answer.text
    primary = site.database.primary()
    instances = pods(site.cluster, NAMESPACE, f"cnpg.io/cluster={CLUSTER},cnpg.io/podRole=instance")
    replicas = [pod["metadata"]["name"] for pod in instances if pod["metadata"]["name"] != primary]
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bridge'"
    assert sum(int(site.database.superuser(count, pod)) for pod in replicas) > 0
