"""The dashboards: what is wrong with a panel is named, the repository's lack nothing, and Grafana's schema admits them."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft7Validator

from ci import toolchain
from ci.console import Steps
from ci.monitoring import __main__ as command
from ci.monitoring import boards, dashboards
from ci.monitoring import rules as chart_rules
from ci.monitoring.queries import selected

if TYPE_CHECKING:
    from collections.abc import Callable

    from ci.monitoring.rules import Rules

# Grafana's published schemas (jsonschema/ of grafana/grafana-foundation-sdk at f178d5a42, Apache-2.0).
SCHEMAS = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).resolve().parent / "grafana").glob("*.json")
}
Documents = dict[str, dict[str, Any]]


@pytest.fixture(name="rules", scope="module")
def _rules() -> Rules:
    return chart_rules.rules_of(chart_rules.rendered(toolchain.helm_and_kubectl(Steps(quiet=True))))


@pytest.fixture(name="promtool", scope="module")
def _promtool() -> Path:
    return toolchain.go_tool(toolchain.PROMTOOL, Steps(quiet=True)) / "promtool"


@pytest.fixture(name="documents")
def _documents() -> Documents:
    return dashboards.documents()


def panel(documents: Documents) -> dict[str, Any]:
    """The panel that is changed."""
    found: dict[str, Any] = next(
        each for each in documents["bridge"]["panels"] if each["title"] == "Time of commits"
    )
    return found


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    """A dashboard as a release has it: with numbers for its thresholds."""
    filled = copy.deepcopy(document)
    for each in filled["panels"]:
        defaults = each.get("fieldConfig", {}).get("defaults", {})
        for step in defaults.get("thresholds", {}).get("steps", ()):
            step["value"] = 1.5 if isinstance(step["value"], str) else step["value"]
    return filled


def _query(text: str) -> Callable[[Documents], None]:
    return lambda documents: panel(documents)["targets"][0].update(expr=text)


def _without(*path: str | int) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        found: Any = panel(documents)
        for key in path[:-1]:
            found = found[key]
        del found[path[-1]]

    return change


def _unit(documents: Documents) -> None:
    panel(documents)["fieldConfig"]["defaults"]["unit"] = "sec"


def _threshold(documents: Documents) -> None:
    panel(documents)["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] = (
        "@monitoring.thresholds.x@"
    )


def _interval(documents: Documents) -> None:
    panel(documents)["targets"][0]["interval"] = "@monitoring.every@"


def _uid(documents: Documents) -> None:
    documents["fuse"]["uid"] = documents["bridge"]["uid"]


def _twice(documents: Documents) -> None:
    documents["bridge"]["panels"].append(copy.deepcopy(panel(documents)))


def _source(documents: Documents) -> None:
    panel(documents)["targets"][0]["datasource"] = {"type": "prometheus", "uid": "P1"}


NAME = "bridge / Time of commits"
BREAKS: dict[str, tuple[Callable[[Documents], None], str]] = {
    "a metric is misspelt": (
        _query("lighthouse_bridge_store_readi"),
        f"{NAME} reads lighthouse_bridge_store_readi, which nothing exposes.",
    ),
    "a label's value does not exist": (
        _query('sum(lighthouse_bridge_tier_circuit_open{tier="opa"})'),
        f"{NAME} selects lighthouse_bridge_tier_circuit_open by tier='opa', which it never has.",
    ),
    "a query is broken": (
        _query("sum(rate(lighthouse_bridge_store_failures_total[5m])"),
        f"{NAME} asks what promtool cannot parse: sum(rate(lighthouse_bridge_store_failures_total[5m]).",
    ),
    "a variable does not exist": (
        _query('lighthouse_bridge_store_ready{pod="$pod"}[$interval]'),
        f"{NAME} asks what promtool cannot parse",
    ),
    "a unit is missing": (_without("fieldConfig", "defaults", "unit"), f"{NAME} has no unit."),
    "a unit is unknown": (_unit, f"{NAME} has the unit sec, which Grafana does not know."),
    "a description is missing": (_without("description"), f"{NAME} has no description."),
    "a title is missing": (_without("title"), "bridge / a panel without a title has no title."),
    "queries are missing": (_without("targets"), f"{NAME} has no query."),
    "a legend is missing": (
        lambda documents: panel(documents)["targets"][0].update(legendFormat=""),
        f"{NAME} has a query without a legend.",
    ),
    "a threshold is no value": (
        _threshold,
        f"{NAME} has the threshold monitoring.thresholds.x, which the chart has no value for.",
    ),
    "an interval is no value": (
        _interval,
        f"{NAME} has the interval @monitoring.every@, which the chart has no value for.",
    ),
    "an interval is missing": (
        _without("targets", 0, "interval"),
        f"{NAME} does not say how often the chart has read what it asks for: histogram_quantile(0.5,",
    ),
    "two dashboards are one to Grafana": (_uid, "fuse has the uid of bridge."),
    "a panel is there twice": (_twice, f"{NAME} is there twice."),
    "another data source is asked": (_source, f"{NAME} asks another data source than the chosen one."),
    "there is nothing": (lambda documents: documents.clear(), "There is no dashboard with a panel."),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_what_is_wrong_is_named(name: str, documents: Documents, rules: Rules, promtool: Path) -> None:
    change, said = BREAKS[name]
    change(documents)
    found = list(boards.problems(documents, chart_rules.known(rules), rules.values, promtool))
    assert [problem for problem in found if problem.startswith(said)], found


def test_nothing_is_wrong(documents: Documents, rules: Rules, promtool: Path) -> None:
    assert list(boards.problems(documents, chart_rules.known(rules), rules.values, promtool)) == []
    assert set(documents) == {
        "overview", "bridge", "experts", "edge", "fuse", "postgres", "redis", "security", "capacity",
    }  # fmt: skip
    assert len(boards.panels(documents)) > 100


def of(series: str, **labels: str) -> str:
    """A series with these labels; the namespace is that of the release unless another is given."""
    listed = ",".join(f'{name}="{value}"' for name, value in ({"namespace": "lighthouse"} | labels).items())
    return f"{series}{{{listed}}}"


LOOKED_UP = of("lighthouse_bridge_cache_lookups_total", pod="lighthouse-bridge-0", result="miss")
FOUND = LOOKED_UP.replace("miss", "hit")
WITHIN = of(
    "lighthouse_bridge_validation_duration_seconds_bucket",
    pod="lighthouse-bridge-0",
    tier="policy",
    le="+Inf",
)
HEARD = "lighthouse_fuse_last_event_timestamp_seconds"
CALLS = "lighthouse_csi_operations_total"
EXPIRES = "certmanager_certificate_expiration_timestamp_seconds"
AGENTS, DRIVERS = "lighthouse-agents", "lighthouse-fuse-csi"
# What a panel says to made-up series, read every half minute for half an hour from 1970 on.
SAID: dict[str, tuple[str, dict[str, str], dict[str, float]]] = {
    "a share of which nothing was yet seen is nought": (
        "overview / Decisions from memory", {LOOKED_UP: "0+10x60"}, {"{}": 0},
    ),
    "a share of nothing is none": (
        "overview / Decisions from memory", {LOOKED_UP: "7x60", FOUND: "9x60"}, {},
    ),
    "the time of no validations is none": ("overview / Validations, 99 of 100 within", {WITHIN: "7x60"}, {}),
    "a sidecar that has heard nothing has no line": (
        "fuse / Since the last word of the event stream",
        {
            of(HEARD, namespace=AGENTS, pod="lighthouse-agents-a"): "0x60",
            of(HEARD, namespace=AGENTS, pod="lighthouse-agents-b"): "1200x60",
        },
        {'{namespace="lighthouse-agents",pod="lighthouse-agents-b"}': 600},
    ),
    "calls that drivers refuse are told of by driver, as the alert counts them": (
        "fuse / Refused calls of kubelet",
        {
            of(CALLS, namespace=DRIVERS, pod=f"lighthouse-fuse-csi-{pod}", method="Probe", code=code): "0+1x60"
            for pod in "ab" for code in ("INTERNAL", "NOT_FOUND")
        },
        {f'{{method="Probe",pod="lighthouse-fuse-csi-{pod}"}}': 60 for pod in "ab"},
    ),
    "certificates are the release's, and those that have expired are there": (
        "security / Until certificates expire",
        {
            of(EXPIRES, exported_namespace=space, name="tls", namespace="cert-manager"): f"{expires}x60"
            for space, expires in (("lighthouse", 88200), ("lighthouse-agents", 900), ("lighthouse-staging", 5000))
        },
        {
            '{exported_namespace="lighthouse",name="tls",namespace="cert-manager"}': 1,
            '{exported_namespace="lighthouse-agents",name="tls",namespace="cert-manager"}': 0,
        },
    ),
    "volumes are the release's": (
        "capacity / Volumes",
        {
            of(f"kubelet_volume_stats_{what}_bytes", persistentvolumeclaim=claim): f"{size}x60"
            for what, size in (("available", 25), ("capacity", 100))
            for claim in ("lighthouse-bridge", "data-lighthouse-redis-0", "other-lighthouse-bridge")
        },
        {
            f'{{namespace="lighthouse",persistentvolumeclaim="{claim}"}}': 0.75
            for claim in ("lighthouse-bridge", "data-lighthouse-redis-0")
        },
    ),
    "a container that two jobs read uses no more": (
        "capacity / CPU",
        {
            of("container_cpu_usage_seconds_total", pod="lighthouse-bridge-0", container="bridge", job=job): "0+6x60"
            for job in ("cadvisor", "resource")
        },
        {'{container="bridge",namespace="lighthouse",pod="lighthouse-bridge-0"}': 0.2},
    ),
    "ten routes are the busiest of all that is shown": (
        "bridge / Requests by route",
        {
            of("lighthouse_bridge_http_requests_total", pod="lighthouse-bridge-0", route=f"/{n}", code="200"):
                # The last one was busy until ten minutes ago.
                f"0+{30 * n}x60" if n < 11 else "0+3000x40 120000x20"
            for n in range(1, 12)
        },
        {f'{{route="/{n}"}}': 0.0 if n == 11 else n for n in range(2, 12)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_a_panel_says_of_series_what_its_title_does(
    name: str, documents: Documents, promtool: Path, tmp_path: Path
) -> None:
    title, series, wanted = SAID[name]
    (asked,) = (each for each in boards.panels(documents) if each.name == title)
    (query,) = asked.queries
    case = {
        "interval": "30s",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": boards.given(query),
                "eval_time": "30m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in wanted.items()],
            }
        ],
    }
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({"fuzzy_compare": True, "tests": [case]}))
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_number_is_asked_for_now_and_a_line_for_all_that_is_shown(documents: Documents) -> None:
    """Of a range, a number would be the last value that was, however long ago."""
    asked = {
        each.content["type"]: {
            (target.get("instant", False), target.get("range", False))
            for other in boards.panels(documents)
            if other.content["type"] == each.content["type"]
            for target in other.content["targets"]
        }
        for each in boards.panels(documents)
    }
    assert asked == {"stat": {(True, False)}, "timeseries": {(False, True)}}


def test_each_query_is_asked_of_the_chosen_release(documents: Documents) -> None:
    unbound = [
        f"{each.name}: {query}"
        for each in boards.panels(documents)
        for query in each.queries
        if "$namespace" not in query and "ALERTS" not in query
    ]
    assert unbound == []
    for document in documents.values():
        named = [variable["name"] for variable in document["templating"]["list"]]
        assert named == ["datasource", "namespace", "release"], document["title"]


@pytest.mark.parametrize(
    ("board", "pod", "release"),
    [
        ("bridge", "lighthouse-bridge-0", "lighthouse"),
        ("bridge", "shop-lighthouse-bridge-7d9c5b6f4-x2x8q", "shop-lighthouse"),
        ("fuse", "lighthouse-agents-security-7d9c5b6f4-x2x8q", "lighthouse"),
        ("redis", "lighthouse-redis-0", "lighthouse"),
        ("postgres", "shop-lighthouse-postgres-1", "shop-lighthouse"),
        ("postgres", "orders-postgres-1", None),
    ],
)
def test_the_variables_list_releases_of_lighthouse_alone(
    board: str, pod: str, release: str | None, documents: Documents
) -> None:
    _, namespaces, releases = documents[board]["templating"]["list"]
    for variable in (namespaces, releases):
        (read,) = selected(variable["query"].removeprefix("label_values(").rpartition(",")[0])
        (ours,) = (value for name, _, value in read.matchers if name == "pod")
        assert bool(re.fullmatch(ours, pod)) == (release is not None)
        assert read.name.startswith("lighthouse_") or "lighthouse" in ours
    named = re.fullmatch(releases["regex"].strip("/^$"), pod)
    assert release is None or (named and named[1] == release)


@pytest.mark.parametrize("name", dashboards.BOARDS)
def test_grafanas_schema_admits_the_dashboard(name: str, documents: Documents) -> None:
    document = numbers(documents[name])
    validator = Draft7Validator(SCHEMAS["dashboard"])
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)] == []
    wrong = []
    for each in document["panels"]:
        if each["type"] == "row":
            continue
        kind = SCHEMAS[each["type"]]
        checks = [(each["options"], kind | {"$ref": "#/definitions/Options"})]
        if "FieldConfig" in kind["definitions"]:
            checks.append(
                (each["fieldConfig"]["defaults"]["custom"], kind | {"$ref": "#/definitions/FieldConfig"})
            )
        checks += [(target, SCHEMAS["prometheus"]) for target in each["targets"]]
        wrong += [
            f"{each['title']}: {error.json_path}: {error.message}"
            for value, schema in checks
            for error in Draft7Validator(schema).iter_errors(value)
        ]
    assert wrong == []


def test_grafanas_schema_refuses_what_is_no_dashboard(documents: Documents) -> None:
    """Else the test above would prove nothing."""
    document = numbers(documents["bridge"])
    document["panels"][1]["gridPos"]["w"] = "wide"
    assert list(Draft7Validator(SCHEMAS["dashboard"]).iter_errors(document))


@pytest.mark.parametrize("name", dashboards.BOARDS)
def test_the_library_reads_what_it_wrote(name: str, documents: Documents) -> None:
    assert (
        json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(documents[name]))))
        == documents[name]
    )


def test_no_two_panels_are_in_one_place(documents: Documents) -> None:
    overlaps = []
    for name, document in documents.items():
        taken: dict[tuple[int, int], str] = {}
        for each in document["panels"]:
            place = each["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    other = taken.setdefault((x, y), each["title"])
                    if other != each["title"]:
                        overlaps.append(f"{name}: {other} and {each['title']}")
            if place["x"] + place["w"] > 24:
                overlaps.append(f"{name}: {each['title']} is beyond the right edge")
    assert sorted(set(overlaps)) == []


def test_the_committed_files_are_those_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: Documents
) -> None:
    folder = command.DASHBOARDS
    assert {path.stem: json.loads(path.read_text()) for path in folder.glob("*")} == documents
    monkeypatch.setattr(command, "DASHBOARDS", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "PAGE", tmp_path / "metrics.md")
    run = CliRunner().invoke
    assert run(command.main, ["generate"]).exit_code == 0
    assert run(command.main, ["generate", "--check"]).exit_code == 0
    (tmp_path / "bridge.json").write_text("{}")
    (tmp_path / "old.json").write_text("{}")
    done = run(command.main, ["generate", "--check"])
    assert done.exit_code == 1
    assert "bridge.json is not current; run `make generate`." in done.output
    assert "old.json is of no dashboard; remove it." in done.output
