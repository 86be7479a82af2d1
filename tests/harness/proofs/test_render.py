"""Rendering: cached by content, scalars as Kubernetes reads them, errors in one sentence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.chart import ChartError, default_values
from lighthouse_harness.manifests import ManifestError, load_yaml, merge, read_objects
from lighthouse_harness.model import Request
from lighthouse_harness.render import Renderer, RenderError, ToolError, prune

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}}
data:
  greeting: {{ .Values.greeting | quote }}
  helm: {{ .Capabilities.KubeVersion.Version | quote }}
"""
SCHEMA = '{"properties": {"greeting": {"type": "string"}}}'


@pytest.fixture(name="chart")
def _chart(tmp_path: Path) -> Path:
    chart = tmp_path / "greeter"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: greeter, version: 1.0.0}\n", encoding="utf-8")
    (chart / "values.yaml").write_text("greeting: hello\nport: 80\n", encoding="utf-8")
    (chart / "values.schema.json").write_text(SCHEMA, encoding="utf-8")
    (chart / "templates" / "config.yaml").write_text(TEMPLATE, encoding="utf-8")
    return chart


@pytest.fixture(name="fresh")
def _fresh(tmp_path: Path) -> Renderer:
    return Renderer(tmp_path / "cache")


def test_a_request_is_rendered_once_and_again_only_when_content_changes(chart: Path, fresh: Renderer) -> None:
    first = fresh.render(Request(chart))
    assert fresh.render(Request(chart)) is first
    assert Renderer(fresh.folder).render(Request(chart)).one("ConfigMap").at("data.greeting") == "hello"
    assert fresh.statistics.helm_runs == 1
    (chart / "values.yaml").write_text("greeting: good evening\n", encoding="utf-8")
    assert fresh.render(Request(chart)).one("ConfigMap").at("data.greeting") == "good evening"
    assert fresh.statistics.helm_runs == 2


def test_a_second_process_finds_renders_on_disk(chart: Path, fresh: Renderer) -> None:
    fresh.render(Request(chart))
    second = Renderer(fresh.folder)
    second.render(Request(chart))
    assert second.statistics.helm_runs == 0
    assert second.statistics.renders == 1


def test_renders_that_nobody_asks_for_are_pruned(chart: Path, fresh: Renderer) -> None:
    fresh.render(Request(chart))
    assert prune(fresh.folder) == 0
    for path in fresh.folder.rglob("*.yaml"):
        os.utime(path, (0, 0))
    assert prune(fresh.folder) == 1
    assert Renderer(fresh.folder).render(Request(chart)).objects


def test_everything_in_the_request_reaches_helm(chart: Path, fresh: Renderer, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("greeting: from a file\n", encoding="utf-8")
    request = Request(chart, (values,), release="here", namespace="there", kubernetes="1.35.0")
    config = fresh.render(request).one("ConfigMap")
    assert (config.name, config.namespace) == ("here", "there")
    assert config.at("data.helm") == "v1.35.0"
    assert config.source == "greeter/templates/config.yaml"
    over = Request(chart, (values,), {"greeting": "laid over"})
    assert fresh.render(over).one("ConfigMap").at("data.greeting") == "laid over"
    assert fresh.render(over).values["port"] == 80


def test_prerender_keeps_the_order_and_runs_helm_once_for_each(chart: Path, fresh: Renderer) -> None:
    versions = ["1.34.0", "1.35.0", "1.36.0", "1.37.0"]
    renders = fresh.prerender(Request(chart, kubernetes=version) for version in versions)
    assert [render.request.kubernetes for render in renders] == versions
    assert fresh.statistics.helm_runs == 4


@pytest.mark.parametrize("again", [False, True])
def test_values_that_the_schema_refuses_are_an_error_that_names_the_key(
    chart: Path, fresh: Renderer, again: bool
) -> None:
    if again:
        with pytest.raises(RenderError):
            fresh.render(Request(chart, overrides={"greeting": 7}))
    with pytest.raises(RenderError, match=r"does not render: .*greeting"):
        fresh.render(Request(chart, overrides={"greeting": 7}))


def test_a_missing_helm_is_named_with_the_way_out(
    chart: Path, fresh: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELM", "/nowhere/helm")
    with pytest.raises(ToolError, match="HELM=/nowhere/helm is not a file; set HELM"):
        fresh.render(Request(chart))


def test_a_folder_without_chart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChartError, match=r"has no Chart\.yaml"):
        default_values(tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("0o17", 15),
        ("017", 15),
        ("0x1f", 31),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("y", True),
        ("Off", False),
        ("1.2.3", "1.2.3"),
        (".5", 0.5),
        ("-1", -1),
        ("~", None),
        ("08080", 8080.0),
    ],
)
def test_scalars_are_read_as_kubernetes_reads_them(text: str, value: object) -> None:
    read = load_yaml(f"key: {text}")["key"]
    assert read == value
    assert type(read) is type(value)


def test_a_key_given_twice_is_an_error_that_names_the_template() -> None:
    text = "# Source: c/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\ndata: {a: 1, a: 2}\n"
    with pytest.raises(
        ManifestError, match=r"c/templates/a\.yaml is not valid YAML: the key 'a' is given twice"
    ):
        read_objects(text, "default")


def test_a_document_without_kind_is_an_error() -> None:
    with pytest.raises(ManifestError, match="has no apiVersion and kind: it is str"):
        read_objects("just text", "default")


def test_lists_are_unfolded() -> None:
    item = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"
    text = f"{{apiVersion: v1, kind: List, items: [{item}]}}"
    assert [found.ref for found in read_objects(text, "n")] == ["ConfigMap/n/a"]


def test_values_merge_as_in_helm() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]}) == {
        "a": {"c": 2, "e": 3},
        "d": [2],
    }
