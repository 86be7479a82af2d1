"""Three bridges on the Redis cluster, over TLS with an ACL, under load while it fails and while its size changes."""

from __future__ import annotations

import datetime
import re
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from ci import images as image_builds
from ci import local
from ci.console import Steps
from ci.release import CHART, bridge_service, role_key, service_url
from ci.settings import NAMESPACE, RELEASE
from tests.chart.flow_scenarios import CAPABILITY, Scenario
from tests.live import stores
from tests.live.knocking import Target, knock, restricted_pod
from tests.live.matrix import endpoint_of, place, port_targets
from tests.live.support import Container, applied, component, eventually, pods
from tests.production.redis.agents import Agents
from tests.production.redis.conftest import ALONE, CLIENTS_SECRET, NAME
from tests.production.redis.probe import Event, kill_a_primary, watched
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.production.redis.agents import Answer
    from tests.production.redis.conftest import Release

pytestmark = pytest.mark.live

BRIDGES = 3
CALM_SECONDS = 8
PROBED_SECONDS = 25
"""Within which each probe of a node has asked twice."""
RULES = CHART / "charts" / "redis" / "files" / "alerts"
SCRAPE = (
    "import sys, urllib.request\n"
    "print(urllib.request.urlopen(f'http://127.0.0.1:{sys.argv[1]}/metrics', timeout=10).read().decode())"
)


@pytest.fixture(scope="module")
def bridges(release: Release, beside: Container) -> Iterator[Release]:
    """The release with three bridges on a PostgreSQL and its own Redis; the next upgrade brings back the one on SQLite."""
    cluster = release.cluster
    stores_image = image_builds.stores_image(Steps(quiet=True))
    local.put_on_nodes(Steps(quiet=True), [stores_image])
    folder = release.folder / "stores"
    objects = stores.store_objects(stores_image.reference, folder, NAMESPACE, ["postgres"])
    release.put_secret("bridge-redis", {"password": release.passwords["bridge"].encode()})
    with applied(cluster, *objects):
        cluster.kubectl("rollout", "status", "deployment/postgres", "-n", stores.NAMESPACE, "--timeout=120s")
        redis = {
            "own": True,
            "cluster": True,
            "existingSecret": "bridge-redis",
            "existingTlsSecret": CLIENTS_SECRET,
        }
        small = {"requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "64Mi"}}
        release.others = ALONE | {
            "bridge": {
                "replicas": BRIDGES,
                "database": stores.database_value(),
                "redis": redis,
                "resources": small,
            },
            "networkPolicies": {"database": {"peers": [stores.PEER]}},
        }
        release.upgrade()
        yield release
        release.others = dict(ALONE)


@pytest.fixture(scope="module")
def agents(bridges: Release) -> Agents:
    """Agents of these bridges, not yet at work."""
    cluster = bridges.cluster
    keys = {}
    for role in ("builder", "expert"):
        with role_key(cluster, RELEASE, NAMESPACE, role) as key:
            keys[role] = key.read_text().strip()
    return Agents(service_url(bridge_service(cluster, RELEASE, NAMESPACE)), keys)


@pytest.fixture(scope="module")
def table() -> Report:
    """The table of what bridges' clients see."""
    columns = (
        "Event",
        "Redis whole after, s",
        "Validations",
        "Wrong answers",
        "Client errors",
        "Signed messages",
        "taken twice",
        "Ended sessions let in",
        "Validations before, ms: p50 p99",
        "during, ms: p50 p99",
    )
    return Report("redis-bridges", columns)


def fresh(agents: Agents) -> Agents:
    """Agents that have seen nothing yet."""
    return Agents(agents.url, agents.keys)


def calm(agents: Agents) -> float:
    """Let agents work a while and see that all is well; returns when it began."""
    begin = time.time()
    time.sleep(CALM_SECONDS)
    seen = agents.since(begin)
    assert {one.kind for one in seen} >= {"validation", "signed", "repeated", "ended"}
    assert [one for one in seen if one.outcome != "right"] == []
    return begin


def milliseconds(answers: list[Answer]) -> str:
    """The median and the 99th percentile of validations."""
    times = [one.seconds * 1000 for one in answers if one.kind == "validation"]
    cuts = statistics.quantiles(times, n=100)
    return f"{cuts[49]:.0f} {cuts[98]:.0f}"


def judged(what: str, agents: Agents, calm_from: float, event: Event, whole: float, table: Report) -> None:
    """Write the row of an event, then hold the bridges to what they must do without Redis."""
    replays = agents.replay()
    before = [one for one in agents.since(calm_from) if one.at <= event.began]
    during = agents.since(event.began)
    failed = [one for one in during if one.outcome == "failed"]
    wrong = [one for one in during if one.outcome == "wrong"]
    signed = [one for one in during if one.kind == "signed" and one.outcome == "right"]
    table.row(
        what,
        f"{whole:.1f}",
        str(sum(one.kind == "validation" for one in during)),
        str(sum(one.kind == "validation" for one in wrong)),
        str(len(failed)),
        str(len(signed)),
        f"{sum(one.kind == 'repeated' for one in wrong)} at once, {replays.count(404)} of {len(replays)} later",
        str(sum(one.kind == "ended" for one in wrong)),
        milliseconds(before),
        milliseconds(during),
    )
    assert wrong == []
    assert failed == []
    assert replays
    assert set(replays) == {401}, "a signed message counted twice"


def without_redis(release: Release) -> list[str]:
    """The bridges that find Redis away."""
    found = []
    for pod in pods(release.cluster, NAMESPACE, component("bridge")):
        name = pod["metadata"]["name"]
        shown = Container(release.cluster, NAMESPACE, name, "bridge").python(SCRAPE, "8080")
        (state,) = re.findall(
            r'^lighthouse_bridge_tier_circuit_open\{tier="redis"\} (\S+)$', shown, re.MULTILINE
        )
        found += [name] if float(state) else []
    return found


def test_the_log_of_redis_has_no_errors_of_probes(bridges: Release) -> None:
    # Before anybody knocks at its port, and after each probe has asked twice; faults before may have left errors.
    begun = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
    time.sleep(PROBED_SECONDS)
    where = (f"{NAME}-0", "-c", "redis", "-n", NAMESPACE)
    assert "Ready to accept connections" in bridges.cluster.kubectl("logs", *where)
    log = bridges.cluster.kubectl("logs", *where, f"--since-time={begun}")
    assert [line for line in log.splitlines() if "Error accepting a client connection" in line] == []


@pytest.mark.proves(22, 28, level="running")
def test_bridges_reach_redis_on_its_port_alone_and_nobody_else_does(bridges: Release) -> None:
    cluster = bridges.cluster
    image = bridges.images["redis-keeper"].reference
    made = [
        restricted_pod("unlabelled", NAMESPACE, image, {}),
        restricted_pod("labelled", NAMESPACE, image, CAPABILITY),
        restricted_pod("labelled", "default", image, CAPABILITY),
    ]
    first, second, *_ = pods(cluster, NAMESPACE, f"{component('redis')},lighthouse.dev/role=node")
    (keeper,) = pods(cluster, NAMESPACE, f"{component('redis')},lighthouse.dev/role=keeper")
    (bridge, *_) = pods(cluster, NAMESPACE, component("bridge"))
    (dns, *_) = pods(cluster, "kube-system", "k8s-app=kube-dns")
    with applied(cluster, *made):
        for pod in made:
            where = ["-n", pod["metadata"]["namespace"], "--timeout=60s"]
            cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod['metadata']['name']}", *where)
        time.sleep(2)  # policies reach new pods within this
        sources = {
            "bridge": Container(cluster, NAMESPACE, bridge["metadata"]["name"], "bridge"),
            "pod that may use Redis": Container(cluster, NAMESPACE, "labelled", "knock"),
            "keeper": Container(cluster, NAMESPACE, keeper["metadata"]["name"], "keeper"),
            "another node": Container(cluster, NAMESPACE, second["metadata"]["name"], "guard"),
            "unlabelled": Container(cluster, NAMESPACE, "unlabelled", "knock"),
            "stranger with our label": Container(cluster, "default", "labelled", "knock"),
        }
        service = cluster.get("service", NAME, "-n", NAMESPACE)["spec"]["clusterIP"]
        targets = [
            Target("service", service, 6379, endpoint=endpoint_of(first)),
            *port_targets("node", first),
            *port_targets("keeper", keeper),
            *port_targets("bridge", bridge),
            *port_targets("DNS", dns),
        ]
        there = [cluster.get("pod", one.pod, "-n", one.namespace) for one in sources.values()]
        manifest = cluster.helm("get", "manifest", RELEASE, "--namespace", NAMESPACE)
        ground = place(manifest, Scenario(bridges.values()), [first, dns, *there], {})
        endpoints = {name: f"{one.namespace}/{one.pod}" for name, one in sources.items()}
        expected, apart = ground.allowed(endpoints, targets)
        assert apart == [], "the table and the evaluator differ"
        matrix = knock(sources, targets, expected)
    print(matrix)
    assert matrix.wrong == []
    assert matrix.cells > 140


def test_bridges_have_a_key_of_their_own_and_not_that_of_the_server(bridges: Release) -> None:
    (bridge, *_) = pods(bridges.cluster, NAMESPACE, component("bridge"))
    container = Container(bridges.cluster, NAMESPACE, bridge["metadata"]["name"], "bridge")
    seen = container.python("print(open('/etc/lighthouse/redis-tls/tls.key').read())").strip()
    keys = [(folder / "tls.key").read_text().strip() for folder in (bridges.clients, bridges.folder)]
    assert [seen == key for key in keys] == [True, False]


def test_exported_metrics_are_those_that_alerts_ask_for(bridges: Release) -> None:
    shown = Container(bridges.cluster, NAMESPACE, f"{NAME}-0", "guard").python(SCRAPE, "9121")
    names = {line.partition("{")[0].partition(" ")[0] for line in shown.splitlines() if line[:1] != "#"}
    text = "".join(path.read_text() for path in RULES.glob("*.yaml"))
    wanted = set(re.findall(r"\b(redis_\w+)\{", text))
    assert len(wanted) > 7
    assert wanted - names == set()


@pytest.mark.proves(20, level="survives")
def test_bridges_answer_rightly_while_a_primary_is_killed(
    bridges: Release, beside: Container, agents: Agents, table: Report
) -> None:
    with watched(beside, bridges.shape) as (watch, load), fresh(agents) as busy:
        began = calm(busy)
        event = Event(watch, load)
        kill_a_primary(bridges, watch)
        whole = event.wait_whole(150, at_least=10)
        eventually(lambda: without_redis(bridges) == [], 30, "bridges use Redis again")
        time.sleep(CALM_SECONDS)
    judged("a primary frozen, then killed", busy, began, event, whole, table)


def test_bridges_answer_rightly_while_all_of_redis_is_gone(
    bridges: Release, beside: Container, agents: Agents, table: Report
) -> None:
    with watched(beside, bridges.shape) as (watch, load), fresh(agents) as busy:
        began = calm(busy)
        event = Event(watch, load)
        bridges.delete(*bridges.alive(), now=True)
        eventually(lambda: len(without_redis(bridges)) == BRIDGES, 20, "every bridge finds Redis away")
        whole = event.wait_whole(180, at_least=5)
        eventually(lambda: without_redis(bridges) == [], 30, "bridges use Redis again")
        time.sleep(CALM_SECONDS)
    judged("all pods of Redis killed", busy, began, event, whole, table)


def test_bridges_answer_rightly_while_slots_move(
    bridges: Release, beside: Container, agents: Agents, table: Report
) -> None:
    for primaries, what in ((5, "three primaries become five"), (3, "five primaries become three")):
        with watched(beside, bridges.shape) as (watch, load), fresh(agents) as busy:
            began = calm(busy)
            event = Event(watch, load)
            bridges.primaries = primaries
            bridges.upgrade(timeout="10m")
            took = time.time() - event.began
            time.sleep(CALM_SECONDS)
            eventually(lambda: without_redis(bridges) == [], 30, "bridges use Redis")
        judged(what, busy, began, event, took, table)
