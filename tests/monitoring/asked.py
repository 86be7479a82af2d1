"""What the panels of a release's dashboards get from Prometheus when they ask it."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from ci.monitoring.boards import Panel, given, panels
from ci.settings import NAMESPACE
from tests.monitoring.pictures import draw

if TYPE_CHECKING:
    from pathlib import Path

    from ci.release import Cluster
    from tests.monitoring.watch import Watch

Boards = dict[str, Any]


def boards_of(cluster: Cluster) -> Boards:
    """The dashboards as the release has them in its namespace, thresholds filled in."""
    found = {}
    for item in cluster.get("configmaps", "-n", NAMESPACE, "-l", "grafana_dashboard=1")["items"]:
        ((name, text),) = item["data"].items()
        found[name.removeprefix("lighthouse-").removesuffix(".json")] = json.loads(text)
    return found


class Asked:
    """What each query of each panel returned, as `dashboard / title / legend`, since a moment; a number what it is now."""

    def __init__(self, watch: Watch, boards: Boards, begin: float) -> None:
        self.boards = boards
        end = time.time()
        self.lines: dict[str, list[dict[str, Any]]] = {
            key: watch.lines(given(target["expr"]), end if target.get("instant") else begin, end)
            for panel in panels(boards)
            for key, target in _targets(panel).items()
        }

    def empty(self) -> set[str]:
        """Queries that returned nothing."""
        return {name for name, lines in self.lines.items() if not lines}

    def blank(self) -> set[str]:
        """Queries whose lines show nothing: NaN from end to end, whatever Prometheus returned."""
        return {
            name
            for name, lines in self.lines.items()
            if lines
            and not any(re.fullmatch(r"[-+.0-9e]+", value) for line in lines for _, value in line["values"])
        }

    def draw(self, folder: Path) -> list[Path]:
        """A picture of each dashboard."""
        drawn = []
        for name, board in self.boards.items():
            own = {
                panel.content["title"]: [self.lines[key] for key in _targets(panel)]
                for panel in panels({name: board})
            }
            drawn.append(draw(board, own, folder / f"{name}.svg"))
        return drawn


def _targets(panel: Panel) -> dict[str, Any]:
    """A panel's queries by name, each with how it is asked."""
    return {f"{panel.name} / {target['legendFormat']}": target for target in panel.content["targets"]}
