"""What Prometheus gets of a release: targets that are there, rules about what is installed, and nothing by surprise."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci.chart.site import OPERATED
from lighthouse_harness.alerts import alert_thresholds, alerts
from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge

from .conftest import CHART, WHOLE, request_for
from .test_redis import TABLE as OF_REDIS

if TYPE_CHECKING:
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

RUNBOOKS = CHART.parents[1] / "docs" / "runbooks"
FILES = CHART / "charts" / "monitoring" / "files"
OURS = {"lighthouse-bridge", "lighthouse-agents", "lighthouse-fuse-csi"}
PROMETHEUS = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
SCRAPING = {"networkPolicies": {"monitoring": [PROMETHEUS]}}
WATCHED = merge(
    {
        "postgres": WHOLE["postgres"],
        "networkPolicies": WHOLE["networkPolicies"],
        "edge": WHOLE["edge"],
        "bridge": WHOLE["bridge"],
        "monitoring": {"rules": "always", "certManager": True, "edgeMetrics": True},
    },
    SCRAPING,
)
APIS = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")


def rendered(renderer: Renderer, values: dict[str, Any], apis: tuple[str, ...] = APIS) -> Render:
    """The chart with these values, on a cluster with these kinds."""
    return renderer.render(replace(request_for("default"), overrides=values, api_versions=apis))


def monitors(render: Render) -> dict[str, Object]:
    """The PodMonitors of bridge, agents and driver by name."""
    return {item.name: item for item in render.select("PodMonitor", may_be_empty=True) if item.name in OURS}


def rules(render: Render) -> list[Object]:
    """The PrometheusRules of this part."""
    return [
        item
        for item in render.select("PrometheusRule", may_be_empty=True)
        if item.name.startswith("lighthouse-monitoring-")
    ]


def test_nothing_is_rendered_without_the_operators_kinds(renderer: Renderer) -> None:
    render = rendered(renderer, SCRAPING, ())
    assert monitors(render) == {}
    assert rules(render) == []


def test_nothing_is_rendered_where_nobody_may_scrape(renderer: Renderer) -> None:
    render = rendered(renderer, {})
    assert monitors(render) == {}
    assert rules(render) == []


@pytest.mark.parametrize(
    ("values", "apis", "pods", "ruled"),
    [
        (SCRAPING, APIS, True, True),
        (SCRAPING, APIS[:1], True, False),
        (merge(SCRAPING, {"monitoring": {"podMonitors": "never"}}), APIS, False, True),
        (merge(SCRAPING, {"monitoring": {"rules": "never"}}), APIS, True, False),
        ({"monitoring": {"podMonitors": "always", "rules": "always"}}, (), True, True),
        (merge(SCRAPING, {"monitoring": {"enabled": False}}), APIS, False, False),
    ],
)
def test_monitors_and_rules_are_there_when_they_are_asked_for(
    values: dict[str, Any], apis: tuple[str, ...], pods: bool, ruled: bool, renderer: Renderer
) -> None:
    render = rendered(renderer, values, apis)
    assert set(monitors(render)) == (OURS if pods else set())
    assert bool(rules(render)) == ruled


def test_each_monitor_is_in_the_namespace_of_its_pods_and_names_their_ports(renderer: Renderer) -> None:
    render = rendered(renderer, SCRAPING)
    found = {
        (item.namespace, port)
        for item in monitors(render).values()
        for port in (endpoint["port"] for endpoint in item.at("spec.podMetricsEndpoints"))
    }
    assert found == {
        ("lighthouse", "metrics"),
        ("lighthouse-agents", "fuse-http"),
        ("lighthouse-agents", "http"),
        ("lighthouse-fuse-csi", "metrics"),
    }


def test_every_series_names_its_node(renderer: Renderer) -> None:
    render = rendered(renderer, merge(WHOLE, SCRAPING), request_for("default").api_versions)
    node = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    found = render.select("PodMonitor")
    assert len(found) == 6
    assert [
        f"{item.name}: {endpoint['port']}"
        for item in found
        for endpoint in thaw(item.document)["spec"]["podMetricsEndpoints"]
        if node not in endpoint.get("relabelings", ())
    ] == []


def test_an_instance_of_prometheus_selects_all_by_their_labels(renderer: Renderer) -> None:
    """That of kube-prometheus-stack takes what has the label `release` with the name of its own."""
    label = {"labels": {"release": "kube-prometheus-stack"}}
    values = {"monitoring": label, "redis": {"monitoring": label}, "postgres": {"podMonitor": label}}
    everything = merge(merge(WHOLE, SCRAPING), values)
    render = rendered(renderer, everything, request_for("default").api_versions)
    found = [item for kind in ("PodMonitor", "PrometheusRule") for item in render.select(kind)]
    assert len(found) > 15
    assert [item.name for item in found if item.labels.get("release") != "kube-prometheus-stack"] == []


def keeps(job: dict[str, Any]) -> dict[str, str]:
    """The labels that a job of the scrape config keeps targets by, with their values."""
    return {
        rule["source_labels"][0]: rule["regex"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }


def test_the_plain_scrape_config_reads_no_pod_that_has_ended(renderer: Renderer) -> None:
    """Its address may be another pod's; the operator leaves it out by itself."""
    render = rendered(renderer, merge(WHOLE, SCRAPING), request_for("default").api_versions)
    (config,) = (item for item in render.select("ConfigMap") if item.name == "lighthouse-monitoring-scrape")
    drop = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "Failed|Succeeded", "action": "drop"}
    jobs = yaml.safe_load(config.at("data")["lighthouse.yaml"])["scrape_configs"]
    assert [job["job_name"] for job in jobs if drop not in job["relabel_configs"]] == []


def test_postgresql_has_alerts_and_a_dashboard_where_the_plain_scrape_config_reads_it(
    renderer: Renderer,
) -> None:
    unseen = merge(
        WATCHED,
        {"postgres": {"podMonitor": {"enabled": False}}, "monitoring": {"dashboards": {"enabled": True}}},
    )
    for scraped in (False, True):
        render = rendered(renderer, merge(unseen, {"monitoring": {"scrapeConfig": scraped}}), OPERATED)
        boards = {item.name for item in render.select("ConfigMap")}
        assert ("PostgresDown" in {alert.name for alert in alerts(render)}) == scraped
        assert ("lighthouse-monitoring-dashboard-postgres" in boards) == scraped


def test_the_plain_scrape_config_reads_every_port_that_is_opened_for_metrics(renderer: Renderer) -> None:
    render = rendered(renderer, merge(WHOLE, SCRAPING), request_for("default").api_versions)
    (config,) = (item for item in render.select("ConfigMap") if item.name == "lighthouse-monitoring-scrape")
    jobs = {
        job["job_name"]: job for job in yaml.safe_load(config.at("data")["lighthouse.yaml"])["scrape_configs"]
    }
    flows = yaml.safe_load((CHART / "files" / "flows.yaml").read_text())["flows"]
    opened = {
        {"redis-nodes": "redis"}.get(flow["to"], flow["to"]): set(flow["port"])
        for flow in flows
        if flow["from"] == "monitoring"
    }
    # Its pods are the operator's, which names the port; nothing reads PgBouncer's.
    assert opened.pop("postgres") == {9187, 9127}
    of_postgres = keeps(jobs.pop("postgres"))
    (monitor,) = (item for item in render.select("PodMonitor") if item.name == "lighthouse-postgres")
    assert of_postgres == {
        **{
            f"__meta_kubernetes_pod_label_{name.translate(str.maketrans('./', '__'))}": value
            for name, value in monitor.at("spec.selector.matchLabels").items()
        },
        "__meta_kubernetes_pod_container_port_name": monitor.at("spec.podMetricsEndpoints")[0]["port"],
    }
    read: dict[str, set[int]] = {}
    for name, job in jobs.items():
        kept = keeps(job)
        named = kept["__meta_kubernetes_pod_container_port_name"]
        (namespace,) = job["kubernetes_sd_configs"][0]["namespaces"]["names"]
        read[name] = {
            port["containerPort"]
            for pod in render.pods
            if pod.namespace == namespace
            and pod.labels.get("app.kubernetes.io/component")
            == kept["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
            for container in pod.containers
            for port in container.ports
            if re.fullmatch(named, port["name"])
        }
    assert read == opened


def test_each_alert_compares_with_the_threshold_of_its_name_and_has_a_runbook(renderer: Renderer) -> None:
    render = renderer.render(replace(request_for("default"), overrides=WHOLE))
    files = {path.stem for path in (FILES / "alerts").glob("*.yaml")}
    assert len(files) > 30
    table = {name: f"monitoring.thresholds.{name[0].lower()}{name[1:]}" for name in files}
    assert set(render.values["monitoring"]["thresholds"]) == {path.split(".")[-1] for path in table.values()}
    verdict = alert_thresholds(render, table | OF_REDIS)
    assert verdict.findings == ()
    wrong = []
    for alert in alerts(render):
        page = RUNBOOKS / f"{alert.name}.md"
        text = page.read_text() if page.is_file() else ""
        headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
        if headings != [alert.name, "Meaning", "Impact", "Diagnosis", "Mitigation"]:
            wrong.append(f"{page.name}: {headings}")
        if not alert.rule["annotations"]["runbook_url"].endswith(f"/{page.name}"):
            wrong.append(f"{alert.name}: its link leads elsewhere")
        told = {name: alert.rule["labels"].get(name) for name in ("release", "release_namespace")}
        if told != {"release": render.request.release, "release_namespace": render.request.namespace}:
            wrong.append(f"{alert.name}: nothing tells it from those of other releases")
    assert wrong == []
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == {alert.name for alert in alerts(render)}


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"agents": {"enabled": False}}, {"AgentsMissing", "ExpertsMissing", "FuseMountSilent"}),
        ({"agents": {"experts": {"security": None, "architecture": {"replicas": 0}}}}, {"AgentsMissing", "ExpertsMissing"}),
        ({"fuse-csi": {"enabled": False}}, {"FuseDriverDown", "FuseMountsOrphaned"}),
        (
            {"bridge": {"enabled": False}, "agents": {"enabled": False}, "edge": {"enabled": False}},
            {"BridgeDown", "BridgesMissing", "ValidationSlow", "SecurityViolations", "ExpertsMissing"},
        ),
        ({"monitoring": {"clusterMetrics": False}}, {"ContainerMemoryHigh", "ContainerRestarting"}),
        ({"monitoring": {"certManager": False}}, {"CertificateExpiring", "CertificateNotReady"}),
        ({"monitoring": {"edgeMetrics": False}}, {"EdgeErrors"}),
        ({"edge": {"enabled": False}}, {"EdgeErrors"}),
        ({"postgres": {"enabled": False}}, {"PostgresDown", "PostgresFailover", "PostgresBackupOld"}),
        ({"postgres": {"podMonitor": {"enabled": False}}}, {"PostgresDown", "PostgresArchiveFailing"}),
        ({"postgres": {"backup": {"enabled": False}}}, {"PostgresArchiveFailing", "PostgresArchiveWaiting", "PostgresBackupOld"}),
    ],
)  # fmt: skip
def test_there_is_no_alert_about_what_is_not_installed(
    values: dict[str, Any], gone: set[str], renderer: Renderer
) -> None:
    everything = {alert.name for alert in alerts(rendered(renderer, WATCHED, OPERATED))}
    left = {alert.name for alert in alerts(rendered(renderer, merge(WATCHED, values), OPERATED))}
    assert gone <= everything
    assert gone & left == set()
    assert left < everything
    unreplaced = [
        f"{item.name}: {rule['expr']}"
        for item in rules(rendered(renderer, merge(WATCHED, values), OPERATED))
        for group in item.at("spec.groups")
        for rule in group["rules"]
        if "$" in rule["expr"]
    ]
    assert unreplaced == []


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, {"BridgesMissing": "1 - ", "AgentsMissing": "2 - "}),
        ({"agents": {"experts": {"security": {"replicas": 3}}}}, {"AgentsMissing": "4 - "}),
        (
            {
                "bridge": {
                    "autoscaling": {"enabled": True, "minReplicas": 5},
                    "database": {"host": "postgres", "existingSecret": "a", "existingTlsSecret": "b"},
                },
                "networkPolicies": {"database": {"peers": [{"ipBlock": {"cidr": "192.0.2.0/28"}}]}},
            },
            {"BridgesMissing": "5 - "},
        ),
    ],
)
def test_as_many_pods_are_missed_as_the_values_ask_for(
    values: dict[str, Any], wanted: dict[str, str], renderer: Renderer
) -> None:
    found = {
        alert.name: str(alert.rule["expr"]) for alert in alerts(rendered(renderer, merge(SCRAPING, values)))
    }
    assert {name: found[name][: len(begin)] for name, begin in wanted.items()} == wanted


def test_rules_about_one_component_are_in_its_namespace(renderer: Renderer) -> None:
    found = {
        item.name.removeprefix("lighthouse-monitoring-"): item.namespace
        for item in rules(rendered(renderer, WATCHED, OPERATED))
    }
    assert found == {
        "objectives": "lighthouse",
        "bridge": "lighthouse",
        "coordination": "lighthouse",
        "security": "lighthouse",
        "edge": "lighthouse",
        "agents": "lighthouse-agents",
        "driver": "lighthouse-fuse-csi",
        "postgres": "lighthouse",
        "certificates": "lighthouse",
        "capacity": "lighthouse",
    }
