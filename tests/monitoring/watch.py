"""What Prometheus and Alertmanager say, asked by their HTTP interfaces."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ci.operators.prometheus import NAMESPACE
from tests.live.support import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ci.release import Cluster

STEP_SECONDS = 15
# How often an alert is looked at: the times of a course are right within this and the evaluation's five seconds.
LOOK_SECONDS = 0.5
# Prometheus tells of an end at once; where a reload of rules loses that, Alertmanager forgets after four minutes without
# news.
FORGET_SECONDS = 300


@dataclass(frozen=True)
class Course:
    """When an alert was pending, fired, reached Alertmanager and cleared, in seconds: the first three since the cause
    began, the last two since it ended."""

    pending: float
    fired: float
    told: float
    cleared: float
    forgotten: float

    def cells(self) -> list[str]:
        """For a table."""
        return [f"{seconds:.0f}" for seconds in vars(self).values()]


class Watch:
    """A Prometheus and the Alertmanager of the local cluster."""

    def __init__(self, cluster: Cluster, name: str = "prometheus") -> None:
        """`name` is that of Prometheus' Service."""
        self.prometheus = httpx.Client(base_url=_address(cluster, name), timeout=60)
        self.alertmanager = httpx.Client(base_url=_address(cluster, "alertmanager"), timeout=30)

    def _ask(self, path: str, parameters: Mapping[str, str | float] | None = None) -> Any:
        answer = self.prometheus.get(f"/api/v1/{path}", params=dict(parameters or {}))
        assert answer.status_code == 200, f"{path} {parameters}: {answer.text}"
        return answer.json()["data"]

    def value(self, query: str) -> float | None:
        """The one value of a query now; None where there is none."""
        found = self._ask("query", {"query": query})["result"]
        assert len(found) <= 1, f"{query} has {len(found)} results, not one"
        return float(found[0]["value"][1]) if found else None

    def lines(self, query: str, begin: float, end: float) -> list[dict[str, Any]]:
        """The series of a query over a time, as `metric` and `values`."""
        asked: dict[str, str | float] = {"query": query, "start": begin, "end": end, "step": STEP_SECONDS}
        found: list[dict[str, Any]] = self._ask("query_range", asked)["result"]
        return found

    def targets(self) -> list[dict[str, Any]]:
        """Everything that is scraped."""
        found: list[dict[str, Any]] = self._ask("targets", {"state": "active"})["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as it was last evaluated, with its group as `group`."""
        groups = self._ask("rules")["groups"]
        return [{**rule, "group": group["name"]} for group in groups for rule in group["rules"]]

    def state(self, alert: str) -> str:
        """`inactive`, `pending` or `firing`: the worst of an alert's series."""
        (rule,) = [rule for rule in self.rules() if rule["name"] == alert]
        return str(rule["state"])

    def told(self, alert: str) -> bool:
        """Whether Alertmanager has it."""
        answer = self.alertmanager.get("/api/v2/alerts", params={"filter": f'alertname="{alert}"'})
        assert answer.status_code == 200, answer.text
        return bool(answer.json())

    def rise(self, alert: str, seconds: float) -> tuple[float, float, float]:
        """Wait until an alert fires and has reached Alertmanager; returns the seconds to each step."""
        begin = time.monotonic()
        seen: dict[str, float] = {}

        def steps() -> bool:
            state = self.state(alert)
            now = time.monotonic() - begin
            if state in {"pending", "firing"}:
                seen.setdefault("pending", now)
            if state == "firing":
                seen.setdefault("firing", now)
            return "firing" in seen

        _looked(steps, seconds, f"{alert} to fire")
        _looked(lambda: self.told(alert), 60, f"{alert} to reach Alertmanager")
        return seen["pending"], seen["firing"], time.monotonic() - begin

    def fall(self, alert: str, seconds: float) -> tuple[float, float]:
        """Wait until an alert has cleared in both; returns the seconds to each."""
        begin = time.monotonic()
        _looked(lambda: self.state(alert) == "inactive", seconds, f"{alert} to clear")
        cleared = time.monotonic() - begin
        _looked(lambda: not self.told(alert), FORGET_SECONDS, f"{alert} to leave Alertmanager")
        return cleared, time.monotonic() - begin

    def close(self) -> None:
        """Close the connections."""
        self.prometheus.close()
        self.alertmanager.close()


def _looked(check: Callable[[], bool], seconds: float, what: str) -> None:
    def look() -> bool:
        found = check()
        if not found:
            time.sleep(LOOK_SECONDS)
        return found

    eventually(look, seconds, what)


def _address(cluster: Cluster, name: str) -> str:
    spec = cluster.get("service", name, "-n", NAMESPACE)["spec"]
    return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"
