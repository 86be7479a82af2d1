"""Values: drawn from a schema they are admitted by it, refused ones are not, and dead ones are found."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from jsonschema import Draft7Validator

from lighthouse_harness.chart import ChartError
from lighthouse_harness.model import Request
from lighthouse_harness.render import Renderer
from lighthouse_harness.schema_values import values_of
from lighthouse_harness.value_effects import effects
from lighthouse_harness.value_sets import hostile, keys, refused

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["size"],
    "properties": {
        "size": {"$ref": "#/definitions/size"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 9},
        "level": {"enum": ["info", "debug"]},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 20}},
        "hosts": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[a-z]{2,5}$"}},
        "fallback": {"type": ["string", "null"]},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "peer": {"anyOf": [{"type": "boolean"}, {"type": "object", "required": ["a"], "properties": {"a": {}}}]},
        "experts": {"type": "object", "additionalProperties": False, "patternProperties": {"^e[0-9]$": {"const": 1}}},
    },
    "definitions": {"size": {"type": "string", "pattern": "^[0-9]+Gi$"}},
}  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(values=values_of(SCHEMA))
def test_drawn_values_are_admitted(values: dict[str, Any]) -> None:
    assert Draft7Validator(SCHEMA).is_valid(values)


def test_a_type_that_json_schema_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="'text' is not a type"):
        values_of({"type": "text"})


@pytest.fixture(name="chart")
def _chart(tmp_path: Path) -> Path:
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: shop, version: 1.0.0}\n", encoding="utf-8")
    (chart / "values.yaml").write_text("{size: 1Gi, level: info, dead: 1}\n", encoding="utf-8")
    schema = {
        "properties": {
            "size": {"type": "string"},
            "level": {"enum": ["info", "debug"]},
            "dead": {"type": "integer"},
        }
    }
    (chart / "values.schema.json").write_text(json.dumps(schema), encoding="utf-8")
    template = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        "data: {size: {{ .Values.size | quote }}, level: {{ .Values.level }}, salt: {{ randAlphaNum 9 | quote }}}\n"
    )
    (chart / "templates" / "config.yaml").write_text(template, encoding="utf-8")
    return chart


def test_a_value_that_changes_nothing_is_found_though_renders_are_random(chart: Path, tmp_path: Path) -> None:
    result = effects(Renderer(tmp_path / "cache"), [Request(chart)], keys(chart))
    assert result.used == {"size", "level"}
    assert result.unused == ("dead",)


def test_effects_of_no_key_are_an_error(chart: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no key"):
        effects(Renderer(tmp_path / "cache"), [Request(chart)], ())


def test_refused_and_hostile_sets_are_what_the_schema_says(chart: Path) -> None:
    for key in keys(chart):
        assert refused(key)
        assert not any(key.admits(values.values[key.path[0]]) for values in refused(key))
        assert all(key.admits(values.values[key.path[0]]) for values in hostile(key))
    assert {key.dotted for key in keys(chart) if hostile(key)} == {"size"}


def test_a_chart_without_schema_is_named(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: a, version: 1.0.0}\n", encoding="utf-8")
    with pytest.raises(ChartError, match=r"has no values\.schema\.json"):
        keys(tmp_path)
