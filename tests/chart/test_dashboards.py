"""Dashboards of a release: ConfigMaps as Grafana's sidecar reads them, of what is installed, with its thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci.monitoring.boards import LARGEST
from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge

from .conftest import CHART, WHOLE, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Object
    from lighthouse_harness.render import Renderer

FILES = CHART / "charts" / "monitoring" / "files"
ON = {"monitoring": {"dashboards": {"enabled": True}}}
ALWAYS = {"overview", "bridge", "experts", "fuse", "security", "capacity"}
EDGE = {name: WHOLE[name] for name in ("edge", "bridge", "networkPolicies")}
DATABASE = {"postgres": WHOLE["postgres"], "networkPolicies": WHOLE["networkPolicies"]}


def made(renderer: Renderer, values: dict[str, Any]) -> dict[str, Object]:
    """The ConfigMaps of dashboards, by the dashboard's name."""
    render = renderer.render(replace(request_for("default"), overrides=values))
    begin = "lighthouse-monitoring-dashboard-"
    return {
        item.name.removeprefix(begin): item
        for item in render.select("ConfigMap", may_be_empty=True)
        if item.name.startswith(begin)
    }


def content(item: Object) -> str:
    """The one file in a ConfigMap."""
    ((_, text),) = item.at("data").items()
    return str(text)


def test_every_file_is_in_the_table_of_what_it_needs() -> None:
    table = yaml.safe_load((FILES / "dashboards.yaml").read_text())["dashboards"]
    assert set(table) == {path.stem for path in (FILES / "dashboards").glob("*.json")}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, set[str]()),
        (ON, ALWAYS),
        (merge(ON, {"monitoring": {"enabled": False}}), set[str]()),
        (merge(ON, {"monitoring": {"clusterMetrics": False}}), ALWAYS - {"capacity"}),
        (merge(ON, {"agents": {"enabled": False}}), ALWAYS - {"fuse"}),
        (merge(ON, {"agents": {"enabled": False}, "bridge": {"enabled": False}}), {"capacity"}),
        (merge(ON, {"redis": {"enabled": True}}), ALWAYS | {"redis"}),
        (merge(ON, EDGE), ALWAYS),
        (merge(ON, merge(EDGE, {"monitoring": {"edgeMetrics": True}})), ALWAYS | {"edge"}),
        (merge(ON, DATABASE), ALWAYS | {"postgres"}),
        (merge(ON, merge(DATABASE, {"postgres": {"podMonitor": {"enabled": False}}})), ALWAYS),
    ],
)
def test_there_are_dashboards_of_what_is_installed(
    values: dict[str, Any], wanted: set[str], renderer: Renderer
) -> None:
    assert set(made(renderer, values)) == wanted


def test_the_sidecar_finds_each_by_label_and_puts_it_into_its_folder(renderer: Renderer) -> None:
    for name, item in made(renderer, WHOLE).items():
        assert item.labels["grafana_dashboard"] == "1"
        assert item.labels["app.kubernetes.io/component"] == "monitoring"
        assert thaw(item.at("metadata.annotations")) == {"grafana_folder": "Lighthouse"}
        assert list(item.at("data")) == [f"lighthouse-{name}.json"]
        assert item.namespace == "lighthouse"


def test_label_and_folder_are_values(renderer: Renderer) -> None:
    own = {"labels": {"grafana_dashboard": None, "board": "yes"}, "annotations": {"grafana_folder": None}}
    for item in made(renderer, merge(ON, {"monitoring": {"dashboards": own}})).values():
        assert "grafana_dashboard" not in item.labels
        assert item.labels["board"] == "yes"
        assert "annotations" not in item.at("metadata")


def test_each_is_the_file_with_numbers_for_its_thresholds_and_small_enough(renderer: Renderer) -> None:
    for name, item in made(renderer, WHOLE).items():
        text = content(item)
        assert '"@' not in text, name
        assert len(text) < LARGEST / 4, name
        before = json.loads((FILES / "dashboards" / f"{name}.json").read_text())
        after = json.loads(text)
        for panel in (*before["panels"], *after["panels"]):
            panel.get("fieldConfig", {}).get("defaults", {}).pop("thresholds", None)
            for target in panel.get("targets", ()):
                target.pop("interval", None)
        assert after == before, name


@pytest.mark.parametrize(
    ("board", "title", "values", "mark"),
    [
        ("bridge", "Time of validations", {}, 0.1),
        ("bridge", "Time of validations", {"monitoring": {"thresholds": {"validationSlow": 0.25}}}, 0.25),
        ("postgres", "Age of the latest backup", {"monitoring": {"thresholds": {"postgresBackupOld": 7200}}}, 7200),
        ("redis", "Memory", {"redis": {"monitoring": {"thresholds": {"memory": 0.75}}}}, 0.75),
        ("security", "Until certificates expire", {}, 7),
        ("experts", "Validations that wait", {"monitoring": {"thresholds": {"expertQueueLong": 100000}}}, 100000),
    ],
)  # fmt: skip
def test_a_panel_has_the_threshold_of_its_alert(
    board: str, title: str, values: dict[str, Any], mark: float, renderer: Renderer
) -> None:
    document = json.loads(content(made(renderer, merge(WHOLE, values))[board]))
    (panel,) = (panel for panel in document["panels"] if panel["title"] == title)
    first, second = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert first["value"] is None
    assert second["value"] == mark


OFTEN = {
    "monitoring": {"interval": "2m"},
    "redis": {"monitoring": {"interval": "90s"}},
    "postgres": {"podMonitor": {"interval": "1m"}},
}


@pytest.mark.parametrize(
    ("scraped", "wanted"),
    [
        (False, {"bridge": "2m", "fuse": "2m", "redis": "90s", "postgres": "1m"}),
        (True, {"bridge": "2m", "fuse": "2m", "redis": "2m", "postgres": "2m"}),
    ],
)
def test_rates_are_over_as_many_readings_as_the_scrape_makes(
    scraped: bool, wanted: dict[str, str], renderer: Renderer
) -> None:
    values = merge(WHOLE, merge(OFTEN, {"monitoring": {"scrapeConfig": scraped}}))
    found = made(renderer, values)
    for name, interval in wanted.items():
        targets = [
            each for panel in json.loads(content(found[name]))["panels"] for each in panel.get("targets", ())
        ]
        rates = [each for each in targets if "$__rate_interval" in each["expr"]]
        assert rates
        assert {each["interval"] for each in rates} == {interval}, name
