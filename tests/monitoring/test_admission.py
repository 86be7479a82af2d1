"""The operator takes what the chart makes, and Prometheus sees and evaluates all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE, RELEASE
from tests.live.support import AGENTS, CSI, eventually
from tests.monitoring.backups import NAME as POSTGRES

if TYPE_CHECKING:
    from typing import Any

    from tests.monitoring.conftest import Site

# The jobs that Prometheus makes of the chart's PodMonitors, and how many targets each has: one bridge, two agents with
# two ports each, one driver, one Redis with its exporter and its guard, and what stands for an instance of PostgreSQL.
TARGETS = {
    f"{NAMESPACE}/{RELEASE}-bridge": 1,
    f"{AGENTS}/{RELEASE}-agents": 4,
    f"{CSI}/{RELEASE}-fuse-csi": 1,
    f"{NAMESPACE}/{RELEASE}-redis": 2,
    f"{NAMESPACE}/{POSTGRES}": 1,
}


def of_the_release(site: Site) -> list[dict[str, Any]]:
    """The targets of the release."""
    return [target for target in site.watch.targets() if target["labels"]["job"] in TARGETS]


@pytest.mark.proves(14, 15, level="running")
def test_every_target_of_the_release_is_up(site: Site) -> None:
    def seen() -> bool:
        found = of_the_release(site)
        jobs = [target["labels"]["job"] for target in found if target["health"] == "up"]
        return {job: jobs.count(job) for job in TARGETS} == TARGETS

    eventually(seen, 240, f"the targets {TARGETS} up")
    assert [target["lastError"] for target in of_the_release(site) if target["lastError"]] == []


@pytest.mark.proves(15, level="running")
def test_every_alert_and_record_of_the_release_is_evaluated_without_an_error(site: Site) -> None:
    rules = site.cluster.get("prometheusrules", "--all-namespaces")["items"]
    wanted = {
        (group["name"], rule.get("alert") or rule["record"], rule.get("for", "0s"))
        for item in rules
        for group in item["spec"]["groups"]
        for rule in group["rules"]
    }
    assert len(wanted) > 50
    names = {(group, name) for group, name, _ in wanted}

    def evaluated() -> bool:
        found = {(rule["group"], rule["name"]) for rule in site.watch.rules() if rule["health"] != "unknown"}
        return names <= found

    eventually(evaluated, 240, "every rule evaluated")
    wrong = [
        f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"
        for rule in site.watch.rules()
        if rule["health"] != "ok"
    ]
    assert wrong == []


@pytest.mark.proves(15, level="accepted")
@pytest.mark.parametrize(("kind", "fewest"), [("podmonitors", 5), ("prometheusrules", 9)])
def test_the_operator_accepts_every_object_of_the_chart(site: Site, kind: str, fewest: int) -> None:
    def said() -> dict[str, list[str]]:
        """By object what the operator says of it; nothing as long as it has not looked at its present form."""
        items = site.cluster.get(kind, "--all-namespaces")["items"]
        return {
            item["metadata"]["name"]: [
                f"{one['status']}: {one.get('message', '')}"
                for binding in item.get("status", {}).get("bindings", ())
                for one in binding["conditions"]
                if one["type"] == "Accepted" and one["observedGeneration"] == item["metadata"]["generation"]
            ]
            for item in items
            if item["metadata"]["namespace"] in {NAMESPACE, AGENTS, CSI}
        }

    assert len(said()) >= fewest
    eventually(lambda: all(said().values()), 120, f"the operator's word on all {kind}")
    assert {name: words for name, words in said().items() if words != ["True: "]} == {}
