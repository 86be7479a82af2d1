"""What the table of flows should make open: who its parties are, under which values, in which cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ci.chart.flows import read_flows
from ci.chart.site import OPERATED
from lighthouse_harness.model import Object, Render, Request
from lighthouse_harness.network_endpoints import Port, outside
from lighthouse_harness.network_environment import default_environment, workload
from lighthouse_harness.network_flows import parse_flows
from lighthouse_harness.reachability import Network, network_of

from .conftest import CHART

if TYPE_CHECKING:
    from ci.chart.flows import Party
    from lighthouse_harness.network_environment import Environment
    from lighthouse_harness.network_flows import Flow

TABLE = CHART / "files" / "flows.yaml"
COMPONENTS = ("bridge", "agents", "fuse-csi", "redis", "postgres")
CAPABILITY = {"lighthouse.dev/access-bridge": "true", "lighthouse.dev/access-redis": "true"}
DATABASE_CAPABILITY = {"lighthouse.dev/access-postgres": "true"}
SOLVER = {"acme.cert-manager.io/http01-solver": "true"}
EVERY_CAPABILITY = CAPABILITY | DATABASE_CAPABILITY
IN_RELEASE_NAMESPACE = ("bridge", "redis", "postgres")
OFF_BY_DEFAULT = ("redis", "postgres")
EVERY_PROTOCOL = ["TCP", "UDP", "SCTP"]
LISTENING = tuple(Port(number, "TCP", f"p{number}") for number in (8080, 8081, 8765))
BUILDERS = "10.250.0.0/24"
BRIDGE_LABELS = {
    "app.kubernetes.io/name": "lighthouse",
    "app.kubernetes.io/instance": "lighthouse",
    "app.kubernetes.io/component": "bridge",
}


def named(namespace: str, **labels: str) -> dict[str, Any]:
    """A peer: the pods of a namespace, all or by a label."""
    peer: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return peer | ({"podSelector": {"matchLabels": labels}} if labels else {})


@dataclass(frozen=True)
class Scenario:
    """Values, and what they make of the table: who the parties are, and which flows are open besides."""

    values: dict[str, Any] = field(default_factory=dict)
    peers: dict[str, list[str]] = field(default_factory=dict)
    """Endpoints of the parties that values list."""
    dns: str = "kube-system/coredns"
    dns_ports: tuple[int, ...] = (53,)
    store_ports: tuple[int, ...] = (443,)
    release: str = "lighthouse"
    namespace: str = "lighthouse"
    also_open: tuple[dict[str, Any], ...] = ()

    @property
    def components(self) -> tuple[str, ...]:
        """Those that are installed."""
        return tuple(
            name
            for name in COMPONENTS
            if self.values.get(name, {}).get("enabled", name not in OFF_BY_DEFAULT)
        )

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Where they run."""
        return tuple(dict.fromkeys(self.namespace_of(name) for name in self.components))

    @property
    def ports(self) -> dict[str, tuple[int, ...]]:
        """The ports that values list, by the name of the value."""
        return {
            "networkPolicies.dns.ports": self.dns_ports,
            "networkPolicies.apiServer.ports": (443, 6443),
            "networkPolicies.objectStore.ports": self.store_ports,
            "networkPolicies.database.ports": (5432,),
            "networkPolicies.redis.ports": (6380,),
            "networkPolicies.policyServer.ports": (8181,),
            "networkPolicies.collector.ports": (4318,),
        }

    def value(self, name: str) -> Any:
        """A value by its dotted name; None unless the scenario sets it."""
        found: Any = self.values
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def namespace_of(self, component: str) -> str:
        """Where a component runs."""
        return self.namespace if component in IN_RELEASE_NAMESPACE else f"{self.namespace}-{component}"


OPENING: dict[str, Any] = {
    "networkPolicies": {
        "clients": [{"ipBlock": {"cidr": BUILDERS}}, named("ci", role="hook")],
        "monitoring": [named("monitoring", **{"app.kubernetes.io/name": "prometheus"})],
    }
}
SECRETS = {"existingSecret": "a", "existingTlsSecret": "b"}
EXTERNAL: dict[str, Any] = {
    "bridge": {
        "replicas": 3,
        "database": {"host": "postgres.data", **SECRETS},
        "redis": {"host": "redis.data", **SECRETS},
        "rego": {"url": "https://opa.policies:8181/v1/data/lighthouse/decisions", **SECRETS},
        "traces": {"url": "http://collector.traces:4318/v1/traces"},
    },
    "networkPolicies": {
        "database": {"peers": [named("data", app="postgres")], "ports": [5432]},
        "redis": {"peers": [named("data", app="redis")], "ports": [6380]},
        "policyServer": {"peers": [named("policies", app="opa")]},
        "collector": {"peers": [named("traces", app="collector")]},
    },
}
PEERS = {"clients": ["builders", "ci/hook"], "monitoring": ["monitoring/prometheus"]}
STRAYING_LABELS: dict[str, Any] = {
    "global": {"commonLabels": EVERY_CAPABILITY},
    **{name: {"podLabels": EVERY_CAPABILITY, "extraLabels": EVERY_CAPABILITY} for name in COMPONENTS},
}
NEIGHBOURS = ["lighthouse/unlabelled", "lighthouse/labelled"]
REST = [
    "strangers/*",
    "ci/*",
    "data/*",
    "policies/*",
    "traces/*",
    "cnpg-system/*",
    "s3/*",
    "kube-system/*",
    "monitoring/*",
    "ingress-controller/*",
    "*",
    *NEIGHBOURS,
]
POSTGRES: dict[str, Any] = {
    "networkPolicies": {
        "databaseClients": [named("ci", role="hook")],
        "monitoring": OPENING["networkPolicies"]["monitoring"],
        "apiServer": {"peers": [{"ipBlock": {"cidr": "172.18.0.2/32"}}]},
        "objectStore": {"peers": [named("s3", app="s3")], "ports": [7070]},
    },
    "postgres": {
        "enabled": True,
        "backup": {"enabled": True, "destinationPath": "s3://backups/postgres"},
        "pooler": {"enabled": True},
    },
}
OWN: dict[str, Any] = {
    **POSTGRES,
    "redis": {"enabled": True},
    "bridge": {"replicas": 3, "database": {"own": True}, "redis": {"own": True, "cluster": True}},
}
EDGE: dict[str, Any] = {
    "edge": {"enabled": True, "hosts": ["lighthouse.example.com"]},
    "bridge": {"trustedProxies": ["10.244.0.0/16"]},
    "networkPolicies": {
        "edge": [named("ingress-controller", **{"app.kubernetes.io/name": "ingress-controller"})]
    },
}
ACME: dict[str, Any] = {
    **EDGE,
    "edge": {
        **EDGE["edge"],
        "tls": {
            "maker": "acme",
            "acme": {"server": "https://acme.example/directory", "email": "a@example.com"},
        },
    },
}
# The API server may be on the pod's own node.
OPERATOR = {"postgres-operator": ["cnpg-system/operator"], "api-server": ["api-server", "node"]}
SCENARIOS = {
    "default": Scenario(),
    "clients and Prometheus admitted": Scenario(OPENING, PEERS),
    "DNS of OpenShift": Scenario(
        {"networkPolicies": {"dns": {"peers": [named("openshift-dns")], "ports": [5353]}}},
        dns="openshift-dns/dns",
        dns_ports=(5353,),
    ),
    "bridges on PostgreSQL, Redis and OPA": Scenario(
        EXTERNAL,
        {
            "database": ["data/postgres"],
            "redis": ["data/redis"],
            "policy-server": ["policies/opa"],
            "collector": ["traces/collector"],
        },
    ),
    "one bridge with traces": Scenario(
        {
            "bridge": {"traces": EXTERNAL["bridge"]["traces"]},
            "networkPolicies": {"collector": EXTERNAL["networkPolicies"]["collector"]},
        },
        {"collector": ["traces/collector"]},
    ),
    "one bridge with OPA": Scenario(
        {
            "bridge": {"rego": EXTERNAL["bridge"]["rego"]},
            "networkPolicies": {"policyServer": EXTERNAL["networkPolicies"]["policyServer"]},
        },
        {"policy-server": ["policies/opa"]},
    ),
    "PostgreSQL": Scenario(
        POSTGRES,
        {
            **OPERATOR,
            "database-clients": ["ci/hook"],
            "object-store": ["s3/server"],
            "monitoring": ["monitoring/prometheus"],
        },
        store_ports=(7070,),
    ),
    "bridges on the release's own PostgreSQL and Redis": Scenario(
        OWN,
        {
            **OPERATOR,
            "database-clients": ["ci/hook"],
            "object-store": ["s3/server"],
            "monitoring": ["monitoring/prometheus"],
        },
        store_ports=(7070,),
    ),
    "with an edge": Scenario(EDGE, {"edge": ["ingress-controller/controller"]}),
    "with an edge that ACME asks": Scenario(ACME, {"edge": ["ingress-controller/controller"]}),
    "without driver": Scenario({"fuse-csi": {"enabled": False}}),
    "bridge alone": Scenario({"fuse-csi": {"enabled": False}, "agents": {"enabled": False}}),
    "with Redis": Scenario(OPENING | {"redis": {"enabled": True}}, PEERS),
    "Redis alone": Scenario(
        {
            "redis": {"enabled": True},
            "bridge": {"enabled": False},
            "agents": {"enabled": False},
            "fuse-csi": {"enabled": False},
        }
    ),
    "driver alone": Scenario({"bridge": {"enabled": False}, "agents": {"enabled": False}}),
    "capabilities on everything": Scenario(STRAYING_LABELS),
    "another release": Scenario(release="shop", namespace="team"),
    "shared namespace": Scenario(
        {"networkPolicies": {"denyReleaseNamespace": False}},
        also_open=(
            {"from": NEIGHBOURS, "to": REST, "port": "*", "protocol": EVERY_PROTOCOL, "why": "not ours"},
            {"from": REST, "to": NEIGHBOURS, "port": "*", "protocol": EVERY_PROTOCOL, "why": "not ours"},
        ),
    ),
}


def neighbours(scenario: Scenario) -> list[Object]:
    """Pods of others in our namespaces: one without labels each, and one with each capability."""
    clients = [workload(f"{scenario.namespace}/client", DATABASE_CAPABILITY, *LISTENING)]
    solver = Port(8089, "TCP", "http")
    solvers = [workload(f"{scenario.namespace}/solver", SOLVER, solver, *LISTENING)]
    asked = scenario.value("edge.tls.acme.server")
    return (
        (clients if "postgres" in scenario.components else [])
        + (solvers if asked else [])
        + [
            workload(f"{namespace}/{name}", labels, *LISTENING)
            for namespace in scenario.namespaces
            for name, labels in (("unlabelled", {}), ("labelled", CAPABILITY))
        ]
    )


def surroundings(scenario: Scenario) -> Environment:
    """A cluster with strangers who wear our labels, builders outside, and the DNS servers of the scenario."""
    strangers = [
        workload("strangers/unlabelled", {}, *LISTENING),
        workload("strangers/labelled", EVERY_CAPABILITY, *LISTENING),
        workload("strangers/disguised", BRIDGE_LABELS, *LISTENING),
        workload("ci/hook", {"role": "hook"}),
        workload("data/postgres", {"app": "postgres"}, Port(5432, "TCP", "sql"), Port(5433, "TCP", "other")),
        workload("data/redis", {"app": "redis"}, Port(6380, "TCP", "redis"), Port(16379, "TCP", "bus")),
        workload("policies/opa", {"app": "opa"}, Port(8181, "TCP", "https"), Port(8282, "TCP", "metrics")),
        workload(
            "traces/collector", {"app": "collector"}, Port(4318, "TCP", "otlp"), Port(4317, "TCP", "grpc")
        ),
        workload("ci/other", EVERY_CAPABILITY),
        workload("cnpg-system/operator", {"app.kubernetes.io/name": "cloudnative-pg"}),
        workload("s3/server", {"app": "s3"}, Port(7070, "TCP", "https")),
    ]
    if scenario.dns != "kube-system/coredns":
        ports = [Port(n, p, f"dns-{p.lower()}") for n in scenario.dns_ports for p in ("UDP", "TCP")]
        strangers.append(workload(scenario.dns, {"dns": "default"}, *ports))
    return default_environment().plus(strangers, [outside("builders", "10.250.0.7")])


def network(render: Render, scenario: Scenario) -> Network:
    """Everything that can send or receive; the neighbours count as ours, so that all of their cells do."""
    return network_of((*render.objects, *neighbours(scenario)), surroundings(scenario))


def endpoints(party: Party, scenario: Scenario) -> list[str]:
    """Patterns of the endpoints that a party should be; none if it is nobody here."""
    if party.peers:
        return [scenario.dns] if party.name == "dns" else scenario.peers.get(party.name, [])
    present = [name for name in party.namespaces_of if name in scenario.components]
    prefix = scenario.release if "lighthouse" in scenario.release else f"{scenario.release}-lighthouse"
    if party.component:
        return [f"{scenario.namespace_of(name)}/{prefix}-{name}*" for name in present]
    if party.name == "migration":
        return [f"{scenario.namespace_of(name)}/{prefix}-migration*" for name in present]
    if {party.label: "true"} == DATABASE_CAPABILITY:
        return [f"{scenario.namespace_of(name)}/client" for name in present]
    if {party.label: "true"} == SOLVER:
        return [f"{scenario.namespace_of(name)}/solver" for name in present]
    assert party.label in CAPABILITY, f"say in this test which pods should have {party.label}"
    wearers = {
        "lighthouse.dev/access-bridge": ("agents", "-*"),
        "lighthouse.dev/access-redis": ("redis", "-keeper"),
    }
    component, rest = wearers[party.label]
    ours = [f"{scenario.namespace_of(name)}/{prefix}-{name}{rest}" for name in present if name == component]
    return ours + [f"{scenario.namespace_of(name)}/labelled" for name in present]


def expected(scenario: Scenario) -> tuple[Flow, ...]:
    """The table, with its parties as they are in the scenario."""
    rows: list[dict[str, Any]] = []
    for flow in read_flows(TABLE):
        if flow.when and not any(scenario.value(name) for name in flow.when):
            continue
        source, destination = endpoints(flow.source, scenario), endpoints(flow.destination, scenario)
        if source and destination:
            ports = list(flow.ports or scenario.ports[flow.ports_value])
            protocols = list(flow.protocols)
            row = {"from": source, "to": destination, "port": ports, "protocol": protocols, "why": flow.why}
            rows.append(row)
    return parse_flows([*rows, *scenario.also_open])


def request_of(scenario: Scenario, major: int = 4) -> Request:
    """The render of a scenario."""
    return Request(
        CHART,
        overrides=scenario.values,
        release=scenario.release,
        namespace=scenario.namespace,
        helm=major,
        api_versions=OPERATED,
    )
