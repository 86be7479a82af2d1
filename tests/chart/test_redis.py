"""What the chart says to Redis: memory, users, ports without plain text, and alerts with their runbooks."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from lighthouse_harness.alerts import alert_thresholds, alerts
from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge
from lighthouse_harness.render import RenderError

from .conftest import CHART, WHOLE, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer
    from lighthouse_harness.tally import Prover

RUNBOOKS = CHART.parents[1] / "docs" / "runbooks"
THRESHOLDS = "redis.monitoring.thresholds"
NAME = "lighthouse-redis"
SECRET, CLIENT_SECRET = f"{NAME}-tls", f"{NAME}-client-tls"
TABLE = {
    "RedisNodeDown": f"{THRESHOLDS}.nodesAway",
    "RedisKeeperDown": f"{THRESHOLDS}.keepers",
    "RedisNotHealing": f"{THRESHOLDS}.whole",
    "RedisSlotsUnserved": f"{THRESHOLDS}.slots",
    "RedisReplicasMissing": f"{THRESHOLDS}.replicas",
    "RedisMemoryHigh": f"{THRESHOLDS}.memory",
    "RedisEvictions": f"{THRESHOLDS}.evictions",
    "RedisConnectionsHigh": f"{THRESHOLDS}.connections",
    "RedisPersistenceFailing": f"{THRESHOLDS}.unwritable",
}


def rendered(renderer: Renderer, values: dict[str, Any] | None = None) -> Render:
    """The chart with Redis and these values of it."""
    overrides = merge(WHOLE, {"redis": values or {}})
    return renderer.render(replace(request_for("default"), overrides=overrides))


def config(render: Render) -> dict[str, str]:
    """The server's configuration."""
    (found,) = (item for item in render.select("ConfigMap") if item.name == "lighthouse-redis")
    lines = [
        line for line in found.at("data")["redis.conf"].splitlines() if line and not line.startswith("#")
    ]
    return dict(line.split(" ", 1) for line in lines)


@pytest.mark.parametrize(
    ("limit", "percent", "bytes_"),
    [("512Mi", 65, 348966092), ("1Gi", 50, 536870912), ("300M", 90, 270000000), (400000000, 10, 40000000)],
)
def test_data_gets_its_share_of_the_memory_limit(
    limit: str | int, percent: int, bytes_: int, renderer: Renderer
) -> None:
    values = {"memory": {"percent": percent}, "resources": {"limits": {"memory": limit}}}
    assert int(config(rendered(renderer, values))["maxmemory"]) == bytes_


def test_a_link_that_died_without_a_word_is_noticed_well_within_a_minute(renderer: Renderer) -> None:
    said = config(rendered(renderer))
    assert int(said["repl-timeout"]) <= 30
    assert int(said["repl-timeout"]) > 3 * int(said["repl-ping-replica-period"])


@pytest.mark.parametrize("mode", ["cluster", "standalone"])
def test_no_port_is_without_tls_and_what_is_set_is_in_the_configuration(
    mode: str, renderer: Renderer
) -> None:
    said = config(
        rendered(renderer, {"mode": mode, "memory": {"eviction": "allkeys-lfu"}, "maxClients": 321})
    )
    assert said["port"] == "0"
    assert said["tls-port"] == "6379"
    assert said["tls-replication"] == "yes"
    assert said.get("tls-cluster") == ("yes" if mode == "cluster" else None)
    assert (said["maxmemory-policy"], said["maxclients"]) == ("allkeys-lfu", "321")


@pytest.mark.parametrize(("clients", "asked"), [("verified", "yes"), ("any", "optional")])
def test_nodes_ask_clients_for_a_certificate_unless_a_value_says_that_any_may_come(
    clients: str, asked: str, renderer: Renderer
) -> None:
    assert config(rendered(renderer))["tls-auth-clients"] == "yes"
    render = rendered(renderer, {"tls": {"clients": clients}})
    assert config(render)["tls-auth-clients"] == asked
    other = rendered(renderer, {"tls": {"clients": "verified" if clients == "any" else "any"}})
    nodes = [next(item for item in r.select("StatefulSet") if item.name == NAME) for r in (render, other)]
    checksums = {item.at("spec.template.metadata.annotations")["checksum/config"] for item in nodes}
    assert len(checksums) == 2, "a node reads it at its start alone"


@pytest.mark.parametrize("metrics", [False, True])
def test_clients_show_a_certificate_of_their_own_and_see_no_key_of_the_nodes(
    metrics: bool, renderer: Renderer
) -> None:
    """But for what keeper and exporter show to Prometheus, as the nodes."""
    own = {"replicas": 2, "database": {"own": True}, "redis": {"own": True, "cluster": True}}
    values = {"bridge": own, "global": {"certificates": {"maker": "own", "metrics": metrics}}}
    request = replace(request_for("default"), overrides=merge(WHOLE, values))
    seen: dict[str, set[tuple[str, str, str]]] = {}
    for item in renderer.render(replace(request, upgrade=True)).objects:
        if item.kind not in {"Deployment", "StatefulSet", "Job"}:
            continue
        pod = item.at("spec.template.spec")
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            keys = certificate_keys(container, pod)
            if any(secret.startswith(NAME) for _, secret, _ in keys):
                seen[container["name"]] = keys
    nodes = {("/etc/lighthouse/redis-tls", SECRET, "*")}
    shown = {("/etc/lighthouse/redis-tls", CLIENT_SECRET, key) for key in ("tls.crt", "tls.key")}
    known = {("/etc/lighthouse/redis-tls", SECRET, "ca.crt")}
    measured = {("/etc/lighthouse/metrics-tls", SECRET, key) for key in ("tls.crt", "tls.key")}
    client = shown | known | (measured if metrics else set())
    bridge = shown | {("/etc/lighthouse/redis-tls", CLIENT_SECRET, "ca.crt")}
    assert seen == {
        "redis": nodes, "guard": nodes, "exporter": client, "keeper": client, "scale": shown | known, "bridge": bridge,
    }  # fmt: skip


def certificate_keys(container: Any, pod: Any) -> set[tuple[str, str, str]]:
    """Where a container sees which key of which Secret of certificates; `*` is all of them."""
    found = set()
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container.get("volumeMounts", ()):
        volume = volumes.get(mount["name"], {})
        for source in [volume, *volume.get("projected", {}).get("sources", ())]:
            secret = source.get("secret", {})
            name = secret.get("secretName") or secret.get("name") or ""
            if name.startswith(NAME) and name.endswith("-tls"):
                keys = [item["key"] for item in secret.get("items", ())] or ["*"]
                found |= {(mount["mountPath"], name, key) for key in keys}
    return found


def test_what_the_chart_makes_for_nodes_and_clients_is_signed_by_one_authority(renderer: Renderer) -> None:
    made = {item.name: item.at("data") for item in rendered(renderer).select("Secret")}
    nodes, clients = made[SECRET], made[CLIENT_SECRET]
    assert nodes["ca.crt"] == clients["ca.crt"]
    assert nodes["tls.key"] != clients["tls.key"]
    authority = x509.load_pem_x509_certificate(base64.b64decode(nodes["ca.crt"]))
    for data in (nodes, clients):
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))
        certificate.verify_directly_issued_by(authority)
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.CLIENT_AUTH in usages


def test_the_default_user_is_off_and_only_the_keeper_reaches_every_key() -> None:
    lines = (CHART / "charts/redis/files/users.acl").read_text().splitlines()
    users = {line.split()[1]: line.split()[2:] for line in lines}
    assert users.keys() == {"default", "bridge", "exporter", "keeper", "replication"}
    assert "off" in users.pop("default")
    for name, rules in users.items():
        assert rules[0] == "on", name
        assert "-@all" in rules, name
        assert not [rule for rule in rules if rule.startswith((">", "#", "+@")) or rule == "nopass"], name
    assert {name for name, rules in users.items() if "~*" in rules} == {"keeper"}


def test_the_bridge_may_do_what_its_page_says() -> None:
    page = (CHART.parents[1] / "docs/architecture.md").read_text()
    (said,) = re.findall(r"```\n(~lighthouse:\* .*?)```", page, re.DOTALL)
    lines = (CHART / "charts/redis/files/users.acl").read_text().splitlines()
    (given,) = (line for line in lines if line.startswith("user bridge "))
    assert set(given.split()[3:]) == set(said.split())


def test_each_alert_compares_with_its_value_and_has_a_runbook(renderer: Renderer, prove: Prover) -> None:
    render = rendered(renderer)
    found = [alert for alert in alerts(render) if alert.object.name == "lighthouse-redis"]
    assert {alert.name for alert in found} == TABLE.keys()
    verdict = alert_thresholds(render.with_objects(alert.object for alert in found), TABLE)
    assert verdict.findings == ()
    for alert in found:
        page = RUNBOOKS / f"{alert.name}.md"
        headings = re.findall(r"^#+ (.*)$", page.read_text().replace("```sh\n#", ""), re.MULTILINE)
        assert headings == [alert.name, "Meaning", "Impact", "Diagnosis", "Mitigation"], page
        assert alert.rule["annotations"]["runbook_url"].endswith(f"/{page.name}")


def test_a_stop_that_is_shorter_than_a_handover_is_refused(renderer: Renderer) -> None:
    with pytest.raises(
        RenderError, match=r"redis\.terminationGracePeriodSeconds is 30 but must be longer than"
    ):
        rendered(renderer, {"terminationGracePeriodSeconds": 30, "handoverSeconds": 20})


@pytest.mark.parametrize(("primaries", "replicas", "pods"), [(3, 1, 6), (5, 1, 10), (3, 2, 9)])
def test_there_is_a_pod_for_each_primary_and_replica(
    primaries: int, replicas: int, pods: int, renderer: Renderer
) -> None:
    values = {"cluster": {"primaries": primaries, "replicasPerPrimary": replicas}}
    (found,) = (
        item for item in rendered(renderer, values).select("StatefulSet") if item.name == "lighthouse-redis"
    )
    assert found.at("spec.replicas") == pods


@pytest.mark.parametrize(
    ("certificate", "keys"), [(False, ["ca.crt"]), (True, ["ca.crt", "tls.crt", "tls.key"])]
)
def test_a_bridge_gets_no_more_of_the_certificate_than_it_uses(
    certificate: bool, keys: list[str], renderer: Renderer
) -> None:
    service = {"host": "redis", "existingSecret": "a", "existingTlsSecret": "b"}
    bridge = {"database": service, "redis": {**service, "clientCertificate": certificate}}
    render = renderer.render(replace(request_for("default"), overrides={"bridge": bridge | {"replicas": 2}}))
    (found,) = (item for item in render.select("Deployment") if item.name == "lighthouse-bridge")
    volumes = {volume["name"]: volume for volume in found.at("spec.template.spec.volumes")}
    assert [item["key"] for item in volumes["redis-tls"]["secret"]["items"]] == keys
    assert [item["key"] for item in volumes["redis"]["secret"]["items"]] == ["password"]


def test_no_probe_opens_a_connection_without_tls(renderer: Renderer) -> None:
    (found,) = (item for item in rendered(renderer).select("StatefulSet") if item.name == "lighthouse-redis")
    (redis,) = (c for c in found.at("spec.template.spec.containers") if c["name"] == "redis")
    probes = {name: probe for name, probe in redis.items() if name.endswith("Probe")}
    assert probes.keys() == {"startupProbe", "livenessProbe", "readinessProbe"}
    assert {name for name, probe in probes.items() if "exec" not in probe} == set()


def test_a_keeper_leaves_a_lost_machine_within_seconds_and_nodes_wait_for_theirs(renderer: Renderer) -> None:
    own = {"key": "data", "operator": "Exists"}
    render = rendered(renderer, {"keeper": {"goneSeconds": 7}, "tolerations": [own]})
    (keeper,) = (item for item in render.select("Deployment") if item.name == "lighthouse-redis-keeper")
    (nodes,) = (item for item in render.select("StatefulSet") if item.name == "lighthouse-redis")
    path = "spec.template.spec.tolerations"
    assert thaw(nodes.at(path)) == [own], "a node's volume is on its machine"
    assert thaw(keeper.at(path)) == [
        own,
        *(
            {
                "key": f"node.kubernetes.io/{state}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 7,
            }
            for state in ("not-ready", "unreachable")
        ),
    ]


@pytest.mark.parametrize(
    ("mode", "exporter", "monitors", "told"),
    [
        ("cluster", True, {"lighthouse-redis", "lighthouse-redis-keeper"}, TABLE.keys()),
        ("cluster", False, {"lighthouse-redis-keeper"}, {"RedisKeeperDown", "RedisNotHealing"}),
        (
            "standalone",
            True,
            {"lighthouse-redis"},
            TABLE.keys()
            - {"RedisKeeperDown", "RedisNotHealing", "RedisSlotsUnserved", "RedisReplicasMissing"},
        ),
        ("standalone", False, set[str](), set[str]()),
    ],
)
def test_who_runs_is_scraped_and_has_alerts(
    mode: str, exporter: bool, monitors: set[str], told: set[str], renderer: Renderer
) -> None:
    render = rendered(renderer, {"mode": mode, "exporter": {"enabled": exporter}})
    made = {item.name for item in render.select("PodMonitor", may_be_empty=True)}
    assert {name for name in made if name.startswith("lighthouse-redis")} == monitors
    assert {alert.name for alert in alerts(render) if alert.object.name == "lighthouse-redis"} == told


@pytest.mark.parametrize(
    ("admitted", "when", "made"),
    [(True, "auto", True), (False, "auto", False), (True, "never", False), (False, "always", True)],
)
def test_nothing_is_made_for_a_prometheus_that_is_not_admitted_unless_it_is_asked_for(
    admitted: bool, when: str, made: bool, renderer: Renderer
) -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    values = {
        "redis": {"enabled": True, "monitoring": {"podMonitor": when, "rules": when}},
        "networkPolicies": {"monitoring": peers if admitted else []},
    }
    request = replace(request_for("default"), overrides=values)
    kinds = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")
    render = renderer.render(replace(request, api_versions=(*request.api_versions, *kinds)))
    for kind in ("PodMonitor", "PrometheusRule"):
        names = {item.name for item in render.select(kind, may_be_empty=True)}
        assert ("lighthouse-redis" in names) == made, kind
