"""Whether the operator takes what the chart made, and Prometheus sees and evaluates all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.settings import NAMESPACE
from tests.live.support import AGENTS, CSI, eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tests.monitoring.conftest import Site


def see_targets(site: Site, wanted: Mapping[str, int]) -> None:
    """Every job has so many targets, which are up and without an error."""

    def found() -> list[dict[str, Any]]:
        return [target for target in site.watch.targets() if target["labels"]["job"] in wanted]

    def seen() -> bool:
        jobs = [target["labels"]["job"] for target in found() if target["health"] == "up"]
        return {job: jobs.count(job) for job in wanted} == wanted

    eventually(seen, 240, f"the targets {wanted} up")
    assert [target["lastError"] for target in found() if target["lastError"]] == []


def see_rules_evaluated(site: Site, fewest: int) -> None:
    """Every alert and record of the cluster, of which there are more than `fewest`, is evaluated without an error."""
    rules = site.cluster.get("prometheusrules", "--all-namespaces")["items"]
    wanted = {
        (group["name"], rule.get("alert") or rule["record"])
        for item in rules
        for group in item["spec"]["groups"]
        for rule in group["rules"]
    }
    assert len(wanted) > fewest

    def evaluated() -> bool:
        found = {(rule["group"], rule["name"]) for rule in site.watch.rules() if rule["health"] != "unknown"}
        return wanted <= found

    eventually(evaluated, 240, "every rule evaluated")
    wrong = [
        f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}"
        for rule in site.watch.rules()
        if rule["health"] != "ok"
    ]
    assert wrong == []


def see_accepted(site: Site, kind: str, fewest: int) -> None:
    """The operator accepts every object of a kind in the release's namespaces, of which there are `fewest` or more."""

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
