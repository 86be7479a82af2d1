"""A release on the local cluster that a real Prometheus watches: one bridge with two agents behind an edge, and a Redis
beside."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci import images as image_builds
from ci import local
from ci.console import Steps
from ci.operators.prometheus import NAMESPACE as MONITORING
from ci.release import install, local_values
from ci.settings import KUBECONFIG, NAMESPACE, RELEASE
from lighthouse_harness.manifests import merge
from tests.live.support import AGENTS, CSI, Bridge, eventually
from tests.monitoring import edge
from tests.monitoring.watch import Watch
from tests.monitoring.work import Work
from tests.production.reports import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster

COLLECTOR = "traces-collector"
ADMITTED = {"networkPolicies": {
    "monitoring": [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}},
         "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}
    ],
    "collector": {"peers": [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": MONITORING}},
         "podSelector": {"matchLabels": {"app": COLLECTOR}}}
    ]},
}}  # fmt: skip
INTERVAL = "10s"
"""How often metrics are read, which is also how long an answer may take."""
VALUES: dict[str, Any] = {
    "bridge": {
        "limits": {"agentPerMinute": 0},
        "traces": {"url": f"http://{COLLECTOR}.{MONITORING}.svc:4318/v1/traces", "ratio": 0},
    },
    "monitoring": {
        "interval": INTERVAL,
        "certManager": True,
        "dashboards": {"enabled": True},
        # A machine that others use is slower than what was promised, and its agents ask less.
        "minimumRate": 0.1,
        "thresholds": {"validationSlow": 2, "expertQueueLong": 5},
    },
}
# An alert's `for` is no value, so it is shortened in the cluster: a sixtieth, five seconds at least.
SHORTER, SHORTEST = 60, 5
UNITS = {"s": 1, "m": 60, "h": 3600}
Waits = dict[str, tuple[str, int]]
"""By alert how long it waits until it fires: as the chart says, and here, in seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make test-monitoring` tells its tests."""
    parser.addoption("--pictures", type=Path, help="Draw each dashboard into this folder.")


@dataclass
class Site:
    """The release, who watches it, and who works with it."""

    cluster: Cluster
    images: dict[str, image_builds.Image]
    watch: Watch
    work: Work
    operator: Bridge
    began: float = field(default_factory=time.time)
    """When the release had been installed: what was before is about another."""

    def install(self, *values: Path) -> None:
        """Install or upgrade the release with these files of values."""
        install_release(self.cluster, self.images, *values)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Make or change objects."""
        apply(self.cluster, *objects)


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    """Make or change objects."""
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
    words = ["apply", "--server-side", "--force-conflicts", "--field-manager=tests", "-f", "-"]
    cluster.kubectl(*words, stdin=manifest)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The local cluster."""
    if not KUBECONFIG.exists():
        pytest.fail("No cluster runs: run 'make test-monitoring'.", pytrace=False)
    return local.running()


def install_release(cluster: Cluster, images: dict[str, image_builds.Image], *values: Path) -> None:
    """Install or upgrade the release with these files of values, over those of the local cluster."""
    for namespace in (NAMESPACE, AGENTS, CSI):
        # Those of an earlier run were shortened, and helm takes nobody's fields away.
        cluster.kubectl("delete", "prometheusrules", "--all", "-n", namespace)
    # Files may name the same parts, such as NetworkPolicies: helm joins them.
    own = [word for path in values for word in ("--values", str(path))]
    arguments = [*local_values([images[name] for name in image_builds.PRODUCT]), *own]
    install(cluster, RELEASE, NAMESPACE, arguments, timeout="10m")


@pytest.fixture(scope="session")
def site(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The release at work, seen by Prometheus."""
    images = local.product_on_nodes(Steps(quiet=True), image_builds.RELEASED)
    folder = tmp_path_factory.mktemp("monitoring")
    path = folder / "values.json"
    values = merge(merge(ADMITTED, VALUES), edge.VALUES)
    path.write_text(json.dumps({**values, "redis": _redis(images)}))
    apply(cluster, edge.make_certificate(folder))
    install_release(cluster, images, path)
    operator, client = Bridge(cluster, "operator", "watching-operator"), edge.outside(folder)
    made = Site(cluster, images, Watch(cluster), Work(cluster, client), operator)
    eventually(client.is_served, 240, "the bridge through the edge")
    made.work.begin()
    try:
        yield made
    finally:
        made.work.end()
        operator.close()
        made.watch.close()


@pytest.fixture(scope="session")
def shortened(site: Site) -> Waits:
    """How long each alert of the release waits until it fires."""
    return shorten(site)


def shorten(site: Site) -> Waits:
    """Have the alerts wait less until they fire; returns how long each does once Prometheus knows."""
    found: Waits = {}
    for namespace in (NAMESPACE, AGENTS, CSI):
        for rule in site.cluster.get("prometheusrules", "-n", namespace)["items"]:
            changed = [_shortened(group, found) for group in rule["spec"]["groups"]]
            kept = {"apiVersion": rule["apiVersion"], "kind": rule["kind"]}
            metadata = {key: rule["metadata"][key] for key in ("name", "namespace")}
            site.apply({**kept, "metadata": metadata, "spec": {"groups": changed}})

    def known() -> bool:
        alerts = {rule["name"]: rule for rule in site.watch.rules() if rule["type"] == "alerting"}
        return all(name in alerts and alerts[name]["duration"] == here for name, (_, here) in found.items())

    eventually(known, 240, "Prometheus to have the shortened rules")
    return found


def _shortened(group: dict[str, Any], found: Waits) -> dict[str, Any]:
    rules = []
    for rule in group["rules"]:
        if "alert" in rule:
            said = rule.get("for", "0m")
            here = seconds(said) and max(seconds(said) // SHORTER, SHORTEST)
            found[rule["alert"]] = (said, here)
            rules.append({**rule, "for": f"{here}s"})
        else:
            rules.append(rule)
    return {**group, "rules": rules}


def seconds(text: str) -> int:
    """A duration as rules have it, such as ``10m``."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", text))


def _redis(images: dict[str, image_builds.Image]) -> dict[str, Any]:
    """One Redis that nobody uses, for its targets, rules and panels."""
    return {
        "enabled": True,
        "mode": "standalone",
        "image": images["redis"].values,
        "keeper": {"image": images["redis-keeper"].values},
        "exporter": {"image": images["redis-exporter"].values},
        "monitoring": {"interval": INTERVAL},
    }


@pytest.fixture(scope="session")
def report() -> Report:
    """The table of times."""
    columns = ("Alert", "Cause", "`for` in the chart", "`for` here, s", "Pending after, s", "Firing after, s",
               "In Alertmanager after, s", "Cleared after, s", "Out of Alertmanager after, s")  # fmt: skip
    return Report("monitoring", columns)
