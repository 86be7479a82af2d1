"""Values of the previous release: each is known still, or refused with its new name."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from ci.chart.__main__ import generated
from ci.chart.values import ValuesError
from ci.settings import ROOT, VERSIONS
from tests.chart.chart_render import CHART, Manifest, RefusedError, render, set_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW = {"from": "bridge.store.path", "to": "bridge.persistence.size", "release": "9.9.9"}


def names(values: Manifest, prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def has(schema: Manifest, name: str) -> bool:
    """Whether a schema of values knows a dotted name; an object without properties of its own takes any."""
    for key in name.split("."):
        if "properties" not in schema:
            return True
        if key not in schema["properties"]:
            return False
        schema = schema["properties"][key]
    return True


def previous(path: str) -> Manifest:
    commit = VERSIONS["release"]["previous"]
    shown = subprocess.run(
        ["git", "show", f"{commit}:charts/lighthouse/{path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, f"{shown.stderr} Fetch the whole history: the previous release is a commit."
    values: Manifest = yaml.safe_load(shown.stdout)
    return values


@pytest.mark.parametrize("component", ["", "bridge", "agents", "fuse-csi"])
def test_every_value_of_the_previous_release_is_known_or_moved(component: str) -> None:
    folder = f"charts/{component}/" if component else ""
    schema = json.loads((CHART / folder / "values.schema.json").read_text())
    found = list(names(previous(f"{folder}values.yaml")))
    assert len(found) > 10
    assert [name for name in found if not has(schema, name)] == []


@pytest.fixture(name="renamed", scope="module")
def _renamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of a later release, in which a value has another name."""
    chart = tmp_path_factory.mktemp("later") / "charts" / "lighthouse"
    shutil.copytree(CHART, chart)
    plant(chart, ROW)
    return chart


def plant(chart: Path, row: dict[str, str]) -> None:
    (chart / "files" / "moved.yaml").write_text(yaml.safe_dump({"moved": [row]}))
    (chart.parents[1] / "docs").mkdir(exist_ok=True)
    for path, text in generated(chart).items():
        path.write_text(text)


def test_an_old_name_is_refused_and_the_new_one_named(program: Path, renamed: Path) -> None:
    render(program, chart=renamed)
    with pytest.raises(RefusedError) as refused:
        render(program, set_value(ROW["from"], "data"), chart=renamed)
    assert "bridge.store.path moved to bridge.persistence.size in 9.9.9; set that instead." in str(
        refused.value
    )


def test_a_value_of_this_release_cannot_be_called_moved(tmp_path: Path) -> None:
    chart = tmp_path / "charts" / "lighthouse"
    shutil.copytree(CHART, chart)
    with pytest.raises(ValuesError, match=r"bridge\.replicas is a value of this release"):
        plant(chart, ROW | {"from": "bridge.replicas"})
