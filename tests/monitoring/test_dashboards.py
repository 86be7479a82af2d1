"""Every panel about what runs here asks what the running Prometheus has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.monitoring.asked import Asked, boards_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.monitoring.conftest import Site

# One server without a keeper runs here, and its volumes are folders of the node, of which the kubelet has no figures.
# test_with_stores has a cluster, and volumes of which it has.
IN_STORES = {
    "redis / Whole / Whole",
    "redis / Slots that are served / Slots that are served",
    "redis / Actions of the keeper / Actions of the keeper",
    "capacity / Volumes / {{persistentvolumeclaim}}",
}


@pytest.fixture(scope="module")
def asked(site: Site) -> Asked:
    """The panels' queries and what they returned since the release was there."""
    return Asked(site.watch, boards_of(site.cluster), site.began)


def test_every_dashboard_about_what_runs_here_is_there(asked: Asked) -> None:
    assert set(asked.boards) == {
        "overview",
        "bridge",
        "experts",
        "edge",
        "fuse",
        "redis",
        "security",
        "capacity",
    }


@pytest.mark.proves(15, level="running")
def test_every_panel_returns_data(asked: Asked) -> None:
    assert len(asked.lines) > 80
    empty = asked.empty()
    print(f"{len(asked.lines) - len(empty)} of {len(asked.lines)} queries returned data")
    assert sorted(empty - IN_STORES) == []


def test_no_panel_shows_a_number_that_is_none(asked: Asked) -> None:
    assert sorted(asked.blank()) == []


def test_each_dashboard_can_be_drawn(asked: Asked, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    for picture in asked.draw(request.config.getoption("--pictures") or tmp_path):
        assert 2_000 < picture.stat().st_size < 150_000, picture
