"""Metrics over TLS by one value: certificates, probes, programs and Prometheus' targets then fit each other."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cryptography import x509

from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge
from lighthouse_harness.render import RenderError

from .conftest import WHOLE, request_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lighthouse_harness.model import Render
    from lighthouse_harness.render import Renderer

Values = dict[str, Any]
NOTHING: Values = {}
MAKERS = ("own", "cert-manager")
VARIABLE = "LIGHTHOUSE_METRICS_TLS_DIR"
# Ports of metrics by name, of our own pods: those of PostgreSQL are the operator's.
PORTS = {"metrics", "fuse-http", "http", "guard", "keeper"}
WATCHED: Values = {
    "monitoring": {"podMonitors": "always", "scrapeConfig": True},
    "redis": {"monitoring": {"podMonitor": "always"}},
    "postgres": {"podMonitor": {"enabled": True}},
}


def rendered(renderer: Renderer, maker: str, *, metrics: bool, values: Values = NOTHING) -> Render:
    """All components, with metrics over TLS or not."""
    chosen = {"global": {"certificates": {"maker": maker, "metrics": metrics}}}
    overrides = merge(merge(merge(WHOLE, WATCHED), chosen), values)
    return renderer.render(replace(request_for("default"), overrides=overrides))


def pods(render: Render) -> Iterator[tuple[str, Values]]:
    """The pods of workloads, by the workload's name."""
    for item in render.objects:
        spec = thaw(item.document).get("spec")
        template = spec.get("template") if isinstance(spec, dict) else None
        if item.kind in {"Deployment", "StatefulSet", "DaemonSet"} and template:
            yield item.name, template["spec"]


def containers(render: Render) -> Iterator[tuple[str, Values, Values]]:
    """Containers that serve metrics, with their pods; the bridge's own port is not among their ports."""
    for name, pod in pods(render):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            served = {port["name"] for port in container.get("ports", [])} & PORTS
            if container["name"] == "bridge":
                served -= {"http"}
            if served:
                yield f"{name}/{container['name']}", container, pod


def keys_in(folder: str, container: Values, pod: Values) -> set[str]:
    """The files that a container sees in a folder, by the volume that is mounted there."""
    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == folder)
    (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
    sources = volume["projected"]["sources"] if "projected" in volume else [volume]
    found = [source["secret"].get("items", [{"path": "tls.crt"}, {"path": "tls.key"}]) for source in sources]
    return {item["path"] for items in found for item in items}


def targets(render: Render) -> Iterator[tuple[str, str, Values]]:
    """Each port that a PodMonitor names: the monitor, its namespace, what it says of the port."""
    for item in render.select("PodMonitor"):
        for endpoint in thaw(item.document)["spec"]["podMetricsEndpoints"]:
            yield item.name, item.namespace, endpoint


def certificates(render: Render) -> dict[tuple[str, str], set[str]]:
    """The host names of each certificate for servers that the chart makes or asks for, by namespace and Secret."""
    found = {}
    for item in render.select("Certificate", may_be_empty=True):
        spec = thaw(item.document)["spec"]
        if not spec.get("isCA") and "server auth" in spec["usages"]:
            found[item.namespace, spec["secretName"]] = set(spec["dnsNames"])
    for item in render.select("Secret"):
        data = thaw(item.document).get("data", {})
        if item.at("type") == "kubernetes.io/tls" and not item.name.endswith("-authority"):
            leaf = x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            found[item.namespace, item.name] = set(names.get_values_for_type(x509.DNSName))
    return found


@pytest.mark.parametrize("maker", MAKERS)
def test_every_target_is_known_by_a_certificate_that_names_it(maker: str, renderer: Renderer) -> None:
    render = rendered(renderer, maker, metrics=True)
    known = certificates(render)
    # CloudNativePG makes this one, and its names with it.
    if maker == "own":
        known["lighthouse", "lighthouse-postgres-ca"] = {"lighthouse-postgres-rw"}
    seen = set()
    for monitor, namespace, endpoint in targets(render):
        tls = endpoint["tlsConfig"]
        assert endpoint["scheme"] == "https", monitor
        assert tls["ca"]["secret"]["key"] == "ca.crt"
        assert tls["serverName"] in known[namespace, tls["ca"]["secret"]["name"]], monitor
        seen.add((monitor, endpoint["port"]))
    assert {port for _, port in seen} >= PORTS
    assert len(seen) == 8


@pytest.mark.parametrize("maker", MAKERS)
def test_programs_and_probes_of_these_ports_are_over_tls(maker: str, renderer: Renderer) -> None:
    found = {}
    for name, container, pod in containers(rendered(renderer, maker, metrics=True)):
        told = {entry["name"]: entry.get("value") for entry in container["env"]}
        assert {"tls.crt", "tls.key"} <= keys_in(str(told[VARIABLE]), container, pod), name
        probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
        found[name] = {probe["scheme"] for probe in probes if probe["port"] in PORTS and "scheme" in probe}
    assert found.pop("lighthouse-bridge/bridge") == set()
    assert len(found) >= 6
    assert set(map(frozenset, found.values())) == {frozenset({"HTTPS"})}


@pytest.mark.parametrize("maker", ["none", *MAKERS])
def test_without_the_value_they_stay_in_plain_text(maker: str, renderer: Renderer) -> None:
    render = rendered(renderer, maker, metrics=False)
    assert all("tlsConfig" not in endpoint for _, _, endpoint in targets(render))
    assert VARIABLE not in str([container["env"] for _, container, _ in containers(render)])
    schemes = {
        container[key]["httpGet"].get("scheme", "HTTP")
        for _, container, _ in containers(render)
        for key in container
        if key.endswith("Probe") and "httpGet" in container[key]
    }
    assert schemes == {"HTTP"}
    (database,) = render.select("Cluster")
    assert "monitoring" not in thaw(database.document)["spec"]
    assert not [key for key in certificates(render) if "fuse-csi" in key[1]]


def test_the_operator_serves_those_of_postgresql_with_the_servers_certificate(renderer: Renderer) -> None:
    (database,) = rendered(renderer, "cert-manager", metrics=True).select("Cluster")
    assert database.at("spec.monitoring.tls.enabled") is True


def test_a_prometheus_without_the_operator_is_told_the_same(renderer: Renderer) -> None:
    values = {"monitoring": {"authorities": "/trust"}}
    render = rendered(renderer, "cert-manager", metrics=True, values=values)
    (config,) = (item for item in render.select("ConfigMap") if item.name == "lighthouse-monitoring-scrape")
    jobs = yaml.safe_load(config.at("data")["lighthouse.yaml"])["scrape_configs"]
    told = {job["job_name"]: (job["scheme"], job["tls_config"]) for job in jobs}
    assert set(told) == {"bridge", "agents", "fuse-csi", "redis", "postgres"}
    names = {endpoint["tlsConfig"]["serverName"] for _, _, endpoint in targets(render)}
    for name, (scheme, tls) in told.items():
        assert (scheme, tls["ca_file"]) == ("https", f"/trust/{name}.crt")
        assert tls["server_name"] in names


def test_the_drivers_namespace_may_ask_the_issuer_where_the_driver_shows_one(renderer: Renderer) -> None:
    for metrics in (True, False):
        render = rendered(renderer, "cert-manager", metrics=metrics)
        (issuer,) = render.select("ClusterIssuer")
        (policy,) = (item for item in render.select("ValidatingAdmissionPolicy") if item.name == issuer.name)
        (rule,) = policy.at("spec.validations")
        assert ("'lighthouse-fuse-csi'" in rule["expression"]) is metrics


@pytest.mark.parametrize("maker", ["none", "existing"])
def test_a_maker_that_makes_nothing_for_them_is_refused(maker: str, renderer: Renderer) -> None:
    named = {
        "bridge": {"tls": {"existingSecret": "b"}},
        "agents": {"tls": {"existingSecret": "a"}},
        "edge": {"clientTls": {"existingSecret": "c"}},
    }
    with pytest.raises(RenderError) as refused:
        rendered(renderer, maker, metrics=True, values=named if maker == "existing" else NOTHING)
    sentence = (
        f"global.certificates.metrics is true but global.certificates.maker is {maker}; set that to own"
    )
    assert sentence in str(refused.value)
