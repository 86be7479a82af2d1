"""Every panel asks what the running Prometheus has, and the panels that have nothing are known, with the reason."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from ci.monitoring.boards import Panel, given, panels
from ci.settings import NAMESPACE
from tests.monitoring.pictures import draw

if TYPE_CHECKING:
    from pathlib import Path

    from tests.monitoring.conftest import Site

FAULT = "such a series begins with the first error or refusal, which may not have been"
STANDALONE = "a Redis cluster has a keeper and slots, and here is one server"
FOLDERS = "volumes of the local cluster are folders of the node, of which the kubelet has no figures"
STATE = "limits and restarts are told by kube-state-metrics, which does not run here"
EMPTY: dict[str, str] = {
    "capacity / Memory of its limit / {{pod}}: {{container}}": STATE,
    "capacity / CPU of its limit / {{pod}}: {{container}}": STATE,
    "capacity / Restarts / {{pod}}: {{container}}": STATE,
    "capacity / Volumes / {{persistentvolumeclaim}}": FOLDERS,
    "bridge / Errors by route / {{route}}: {{code}}": FAULT,
    "bridge / Failures of tiers / {{tier}}": FAULT,
    "experts / Denied because nobody decided / expired": FAULT,
    "fuse / Input/output errors / {{pod}}": FAULT,
    "fuse / Refused calls of kubelet / {{method}}: {{code}}": FAULT,
    "overview / Budget of failures, last hour / Budget of failures, last hour": FAULT,
    "security / Refused for asking too much / {{limit}}": FAULT,
    "security / Refused by drivers / {{kind}}": FAULT,
    "redis / Whole / Whole": STANDALONE,
    "redis / Slots that are served / Slots that are served": STANDALONE,
    "redis / Actions of the keeper / Actions of the keeper": STANDALONE,
}
"""Panels, as `dashboard / title / legend`, whose query may have no series here, and why."""

SECONDS = 3600


@pytest.fixture(scope="module")
def boards(site: Site) -> dict[str, Any]:
    """The dashboards as the release has them in its namespace, thresholds filled in."""
    found = {}
    for item in site.cluster.get("configmaps", "-n", NAMESPACE, "-l", "grafana_dashboard=1")["items"]:
        ((name, text),) = item["data"].items()
        found[name.removeprefix("lighthouse-").removesuffix(".json")] = json.loads(text)
    return found


@pytest.fixture(scope="module")
def results(site: Site, boards: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What each query of each panel returned, over the time since the release was seen."""
    end = time.time()
    return {
        key: site.watch.lines(given(query), end - SECONDS, end)
        for panel in panels(boards)
        for key, query in _named(panel).items()
    }


def _named(panel: Panel) -> dict[str, str]:
    """A panel's queries by name."""
    legends = [str(target["legendFormat"]) for target in panel.content["targets"]]
    return {f"{panel.name} / {legend}": query for legend, query in zip(legends, panel.queries, strict=True)}


def test_every_dashboard_about_what_runs_here_is_there(boards: dict[str, Any]) -> None:
    assert set(boards) == {"overview", "bridge", "experts", "fuse", "redis", "security", "capacity"}


@pytest.mark.proves(15, level="running")
def test_every_panel_returns_data_but_those_whose_reason_is_known(
    results: dict[str, list[dict[str, Any]]],
) -> None:
    assert len(results) > 80
    empty = {name for name, lines in results.items() if not lines}
    print(f"{len(results) - len(empty)} of {len(results)} queries returned data")
    assert sorted(empty - EMPTY.keys()) == []


def test_no_panel_shows_a_number_that_is_none(results: dict[str, list[dict[str, Any]]]) -> None:
    """A line that is NaN from end to end shows nothing, whatever the query returned."""
    blank = {
        name
        for name, lines in results.items()
        if lines
        and not any(re.fullmatch(r"[-+.0-9e]+", value) for line in lines for _, value in line["values"])
    }
    assert sorted(blank - EMPTY.keys()) == []


def test_each_dashboard_can_be_drawn(
    boards: dict[str, Any],
    results: dict[str, list[dict[str, Any]]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = request.config.getoption("--pictures") or tmp_path
    for name, board in boards.items():
        own = {
            panel.content["title"]: [results[key] for key in _named(panel)] for panel in panels({name: board})
        }
        picture = draw(board, own, folder / f"{name}.svg")
        assert 2_000 < picture.stat().st_size < 150_000, picture
