"""Scrapes, routes, webhooks, DNS and the policies' own faults: each check with what it must refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import EmptySelectionError, Render, Request, Verdict
from lighthouse_harness.network_checks import routes, scrapes, webhooks
from lighthouse_harness.network_environment import Environment, default_environment
from lighthouse_harness.network_rules import dns, isolation, rules
from lighthouse_harness.reachability import network_of

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: bridge, namespace: app}
spec:
  template:
    metadata: {labels: {app: bridge}}
    spec:
      containers:
        - {name: bridge, ports: [{containerPort: 8765, name: http}, {containerPort: 8080, name: metrics}]}
---
apiVersion: v1
kind: Service
metadata: {name: bridge, namespace: app, labels: {app: bridge}}
spec:
  selector: {app: bridge}
  ports: [{port: 80, targetPort: http, name: web}, {port: 8080, targetPort: metrics, name: metrics}]
---
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: bridge, namespace: app}
spec:
  podSelector: {matchLabels: {app: bridge}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
      ports: [{port: metrics}]
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-controller}}}]
      ports: [{port: http}]
    - from: [{ipBlock: {cidr: 172.18.0.0/16}}]
      ports: [{port: http}]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
      ports: [{port: 53, protocol: UDP}, {port: 53}]
    - to: [{ipBlock: {cidr: 203.0.113.0/24}}]
      ports: [{port: 443}]
---
"""
TCP_ONLY = POLICY.replace("[{port: 53, protocol: UDP}, {port: 53}]", "[{port: 53}]")
SERVICE_MONITOR = """
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: bridge, namespace: app}
spec: {selector: {matchLabels: {app: bridge}}, endpoints: [{port: metrics}]}
---
"""
POD_MONITOR = """
apiVersion: monitoring.coreos.com/v1
kind: PodMonitor
metadata: {name: bridge, namespace: app}
spec: {selector: {matchLabels: {app: bridge}}, podMetricsEndpoints: [{port: metrics}]}
---
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: bridge, namespace: app}
spec:
  rules:
    - http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: bridge, port: {name: web}}}}]}
---
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bridge, namespace: app}
spec: {rules: [{backendRefs: [{name: bridge, port: 80}]}]}
---
"""
WEBHOOK = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: bridge}
webhooks: [{name: a.example, clientConfig: {service: {name: bridge, namespace: app, port: 80}}}]
---
"""


def render(*texts: str) -> Render:
    return Render(Request(Path("chart")), read_objects("".join(texts), "app"))


def said(verdict: Verdict) -> list[str]:
    return [f"{finding.path}: {finding.observed}; {finding.fix}" for finding in verdict.findings]


@pytest.mark.parametrize("monitor", [SERVICE_MONITOR, POD_MONITOR])
def test_a_monitor_whose_port_is_there_and_admitted_passes(monitor: str) -> None:
    verdict = scrapes(render(APP, POLICY, monitor))
    assert verdict.ok
    assert verdict.examined == 1


@pytest.mark.parametrize("monitor", [SERVICE_MONITOR, POD_MONITOR])
def test_a_monitor_that_the_charts_own_policy_shuts_out_is_found(monitor: str) -> None:
    closed = POLICY.replace("metadata.name: monitoring", "metadata.name: observability")
    (line,) = said(scrapes(render(APP, closed, monitor)))
    assert "monitoring/prometheus -> app/bridge 8080/TCP denied" in line
    assert "ingress denied: isolated by app/bridge; no rule admits monitoring/prometheus" in line


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        (
            SERVICE_MONITOR.replace("[{port: metrics}]", "[{port: metric}]"),
            "name a port of Service/app/bridge",
        ),
        (SERVICE_MONITOR.replace("[{port: metrics}]", "[{path: /m}]"), "name a port of the Service"),
        (SERVICE_MONITOR.replace("[{port: metrics}]", "[{targetPort: gone}]"), "declare a port of that name"),
        (SERVICE_MONITOR.replace("app: bridge", "app: bridges"), "no Service has these labels"),
        (SERVICE_MONITOR.replace("[{port: metrics}]", "[]"), "give it an endpoint"),
        (
            SERVICE_MONITOR.replace("spec: {", "spec: {namespaceSelector: {matchNames: [other]}, "),
            "no Service",
        ),
        (
            POD_MONITOR.replace("[{port: metrics}]", "[{port: metric}]"),
            "name a port that app/bridge declares",
        ),
        (POD_MONITOR.replace("app: bridge", "app: bridges"), "no pod has these labels"),
    ],
)
def test_a_monitor_of_something_that_is_not_there_is_found(monitor: str, message: str) -> None:
    (line,) = said(scrapes(render(APP, POLICY, monitor)))
    assert message in line


def test_a_monitor_may_look_into_every_namespace() -> None:
    anywhere = SERVICE_MONITOR.replace("namespace: app", "namespace: else").replace(
        "spec: {", "spec: {namespaceSelector: {any: true}, "
    )
    assert scrapes(render(APP, POLICY, anywhere)).ok


@pytest.mark.parametrize("check", [scrapes, routes, webhooks])
def test_a_render_without_promises_does_not_pass(check: object) -> None:
    with pytest.raises(EmptySelectionError):
        check(render(APP, POLICY))  # type: ignore[operator]  # the three share a signature


@pytest.mark.parametrize("route", [INGRESS, ROUTE])
def test_a_backend_that_is_there_and_admitted_passes(route: str) -> None:
    assert routes(render(APP, POLICY, route)).ok


@pytest.mark.parametrize("route", [INGRESS, ROUTE])
def test_a_backend_that_the_ingress_controller_cannot_reach_is_found(route: str) -> None:
    closed = POLICY.replace("metadata.name: ingress-controller", "metadata.name: edge")
    (line,) = said(routes(render(APP, closed, route)))
    assert "ingress-controller/controller -> app/bridge 8765/TCP denied" in line


@pytest.mark.parametrize(
    ("route", "message"),
    [
        (
            INGRESS.replace("service: {name: bridge", "service: {name: gone"),
            "spec.rules[0].http.paths[0].backend",
        ),
        (
            INGRESS.replace("port: {name: web}", "port: {number: 81}"),
            "name a port of Service/app/bridge: 80 web",
        ),
        (
            INGRESS.replace("rules:", "defaultBackend: {service: {name: gone, port: {number: 1}}}\n  rules:"),
            "default",
        ),
        (ROUTE.replace("name: bridge, port", "name: gone, port"), "render that Service"),
        (ROUTE.replace("port: 80", "port: 81"), "name a port of Service/app/bridge"),
        (
            ROUTE.replace("namespace: app", "namespace: web").replace("port: 80", "namespace: app, port: 80"),
            "Grant",
        ),
    ],
)
def test_a_backend_that_is_not_there_is_found(route: str, message: str) -> None:
    (line,) = said(routes(render(APP, POLICY, route)))
    assert message in line


def test_a_reference_grant_admits_a_route_of_another_namespace() -> None:
    route = ROUTE.replace("namespace: app", "namespace: web").replace("port: 80", "namespace: app, port: 80")
    grant = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: web, namespace: app}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: web}]
  to: [{group: "", kind: Service}]
---
"""
    assert routes(render(APP, POLICY, route, grant)).ok


def test_a_service_whose_selector_finds_no_pod_is_found() -> None:
    lost = APP.replace("selector: {app: bridge}", "selector: {app: bridge, tier: web}")
    (line,) = said(routes(render(lost, POLICY, INGRESS)))
    assert "give its selector app=bridge,tier=web pods to choose" in line


def test_a_webhook_needs_the_api_server_admitted() -> None:
    assert webhooks(render(APP, POLICY, WEBHOOK)).ok
    closed = POLICY.replace("172.18.0.0/16", "192.0.2.0/24")
    (line,) = said(webhooks(render(APP, closed, WEBHOOK)))
    assert "api-server -> app/bridge 8765/TCP denied" in line


def test_a_webhook_without_its_service_is_found_and_one_of_others_is_not_ours() -> None:
    gone = WEBHOOK.replace("name: bridge, namespace: app", "name: gone, namespace: app")
    (line,) = said(webhooks(render(APP, POLICY, gone)))
    assert "app/gone; render that Service" in line
    foreign = WEBHOOK.replace("namespace: app", "namespace: elsewhere")
    with pytest.raises(EmptySelectionError):
        webhooks(render(APP, POLICY, foreign))


def test_conversion_webhooks_and_aggregated_apis_are_called_too() -> None:
    others = """
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.example}
spec: {service: {name: bridge, namespace: app, port: 80}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example}
spec:
  conversion:
    strategy: Webhook
    webhook: {clientConfig: {service: {name: bridge, namespace: app, port: 80}}}
---
"""
    assert webhooks(render(APP, POLICY, others)).examined == 2


def test_a_pod_that_may_send_somewhere_needs_dns_over_both_protocols() -> None:
    assert dns(render(APP, POLICY)).ok
    (line,) = said(
        dns(render(APP, POLICY.replace("[{port: 53, protocol: UDP}, {port: 53}]", "[{port: 53}]")))
    )
    assert "app/bridge -> kube-system/coredns 53/UDP denied" in line


@pytest.mark.parametrize(
    ("app", "policy", "without"),
    [
        (APP, POLICY.partition("  egress:")[0] + "---\n", ()),
        (APP.replace("      containers", "      dnsPolicy: None\n      containers"), TCP_ONLY, ()),
        (APP, TCP_ONLY, ["app/*"]),
    ],
    ids=["sends nowhere", "resolves otherwise", "named"],
)
def test_dns_is_not_asked_of_pods_that_do_not_need_it(app: str, policy: str, without: list[str]) -> None:
    with pytest.raises(EmptySelectionError):
        dns(render(app, policy), without=without)


def test_an_environment_without_dns_is_refused() -> None:
    with pytest.raises(EmptySelectionError, match="kube-system/coredns"):
        dns(render(APP, POLICY), Environment())


def test_a_pod_that_no_policy_isolates_is_found_for_each_direction() -> None:
    assert isolation(render(APP, POLICY)).ok
    ingress_only = POLICY.replace("[Ingress, Egress]", "[Ingress]")
    (line,) = said(isolation(render(APP, ingress_only)))
    assert "app/bridge open for egress" in line
    assert len(said(isolation(render(APP)))) == 2


def test_a_policy_of_another_api_is_named_rather_than_believed() -> None:
    cilium = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: c}\n---\n"
    assert "CiliumNetworkPolicy is not read here" in said(isolation(render(APP, cilium)))[0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (("{app: bridge}}\n  policyTypes", "{app: b}}\n  policyTypes"), "spec.podSelector: app=b"),
        (
            ("namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}",
             "namespaceSelector: {matchLabels: {name: monitoring}}"),
            "spec.ingress[0].from[0]: pods with everything in namespaces with name=monitoring",
        ),
        (("ports: [{port: http}]", "ports: [{port: htpp}]"), "no destination has a TCP port of that name"),
    ],
)  # fmt: skip
def test_a_policy_that_selects_or_admits_nobody_is_found(fault: tuple[str, str], message: str) -> None:
    assert rules(render(APP, POLICY)).ok
    lines = said(rules(render(APP, POLICY.replace(*fault))))
    assert any(message in line for line in lines)


def test_the_environment_may_name_the_namespaces_that_a_policy_means() -> None:
    labelled = POLICY.replace(
        "matchLabels: {kubernetes.io/metadata.name: monitoring}", "matchLabels: {purpose: metrics}"
    )
    around = Environment(
        objects=default_environment().objects,
        peers=default_environment().peers,
        namespace_labels={"monitoring": {"purpose": "metrics"}},
    )
    assert not rules(render(APP, labelled)).ok
    assert rules(render(APP, labelled), around).ok
    assert scrapes(render(APP, labelled, SERVICE_MONITOR), around).ok


CLUSTER = """
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: db, namespace: app}
spec: {instances: 3, inheritedMetadata: {labels: {tier: data}}}
---
apiVersion: postgresql.cnpg.io/v1
kind: Pooler
metadata: {name: db-pooler, namespace: app}
spec: {cluster: {name: db}, type: rw}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: app}
spec:
  podSelector: {matchLabels: {cnpg.io/cluster: db, cnpg.io/podRole: instance}}
  ingress:
    - from: [{podSelector: {matchLabels: {cnpg.io/poolerName: db-pooler}}}]
      ports: [{port: postgresql}]
    - from: [{podSelector: {matchLabels: {cnpg.io/jobRole: join}}}]
      ports: [{port: 5432}]
---
"""


def test_pods_that_cloudnativepg_makes_are_endpoints_with_its_labels_ports_and_services() -> None:
    network = network_of(render(APP, CLUSTER).objects)
    owned = {endpoint.name for endpoint in network.endpoints if endpoint.owned}
    assert owned == {"app/bridge", "app/db", "app/db-replicas", "app/db-jobs", "app/db-pooler"}
    for instance in ("app/db", "app/db-replicas"):
        assert network.allows("app/db-pooler", instance, "postgresql")
        assert network.allows("app/db-jobs", instance, 5432)
        assert not network.allows("app/bridge", instance, 5432)
        assert not network.allows("app/db-pooler", instance, "metrics")
    leads_to = {
        service.object.name: {pod.name for pod in service.pods(network.endpoints)}
        for service in network.services
    }
    assert leads_to["db-rw"] == {"app/db"}
    assert leads_to["db-ro"] == {"app/db-replicas"}
    assert leads_to["db-r"] == {"app/db", "app/db-replicas"}
    assert leads_to["db-pooler"] == {"app/db-pooler"}
    assert network.endpoint("app/db").labels["tier"] == "data"


def test_findings_about_pods_of_an_operator_name_the_resource_they_are_made_of() -> None:
    findings = isolation(render(APP, POLICY, CLUSTER)).findings
    assert "Cluster/app/db" in {finding.object for finding in findings}
    assert {finding.observed for finding in findings if finding.object == "Cluster/app/db"} == {
        "app/db open for egress",
        "app/db-replicas open for egress",
        "app/db-jobs open for ingress",
        "app/db-jobs open for egress",
    }
