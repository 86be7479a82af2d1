"""Branch coverage: every kind of branch is found by reading templates as Go does, and proven by rendering."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lighthouse_harness.coverage import coverage
from lighthouse_harness.model import Request
from lighthouse_harness.render import Renderer
from lighthouse_harness.template_actions import TemplateError, actions, branches

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = """\
{{- define "name" -}}{{ if .Values.long -}} long-name {{- else -}} name {{- end }}{{- end -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "name" . }}
data:
  text: {{ "}} {{ end }}" | quote }}
  {{- /* {{ if never }} */}}
  {{- range $key, $value := .Values.items }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
  {{- with .Values.extra }}
  extra: {{ . }}
  {{- else with .Values.other }}
  other: "yes"
  {{- end }}
"""


@pytest.fixture(name="chart")
def _chart(tmp_path: Path) -> Path:
    chart = tmp_path / "branchy"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: branchy, version: 1.0.0}\n", encoding="utf-8")
    (chart / "values.yaml").write_text(
        "{long: false, items: {}, extra: '', other: false}\n", encoding="utf-8"
    )
    (chart / "templates" / "config.yaml").write_text(TEMPLATE, encoding="utf-8")
    return chart


def test_branches_are_found_and_text_in_strings_is_not() -> None:
    assert [branch.title for branch in branches(TEMPLATE)] == [
        '1: define "name"',
        "1: if .Values.long",
        "1: else of if .Values.long",
        "9: range $key, $value := .Values.items",
        "9: range $key, $value := .Values.items (does not hold)",
        "12: with .Values.extra",
        "14: else with .Values.other",
        "12: with .Values.extra (does not hold)",
    ]


def test_coverage_is_what_the_renders_come_through(chart: Path, tmp_path: Path) -> None:
    renderer = Renderer(tmp_path / "cache")
    plain = Request(chart)
    first = coverage(renderer, [plain])
    assert {place.branch.title for place in first.missed} == {
        "1: if .Values.long",
        "9: range $key, $value := .Values.items",
        "12: with .Values.extra",
        "14: else with .Values.other",
    }
    assert first.share == pytest.approx(0.5)
    full = Request(chart, overrides={"long": True, "items": {"a": "b"}, "extra": "x"})
    assert coverage(renderer, [plain, full, Request(chart, overrides={"other": True})]).missed == ()


@pytest.mark.parametrize("text", ["{{ if .a }}", "{{ end }}", "{{ else }}", "{{ .a", '{{ "}}'])
def test_text_that_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="line 1"):
        branches(text)


def test_actions_are_read_with_their_words() -> None:
    assert [action.word for action in actions("a {{- if .x }} b {{ .y }} {{ `}}` }}{{ end -}}")] == [
        "if",
        "",
        "",
        "end",
    ]


def test_coverage_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one chart"):
        coverage(Renderer(tmp_path), [])
