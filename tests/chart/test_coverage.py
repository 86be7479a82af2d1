"""Every branch of every template is rendered by some test, or is known to be out of reach, with the reason."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.coverage import coverage

from .conftest import WHOLE, profiles, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Request
    from lighthouse_harness.render import Renderer

pytestmark = pytest.mark.heavy

NOTE = {"example.com/note": "x"}
WATCHED = {"monitoring": {"podMonitors": "always", "rules": "always", "scrapeConfig": True}}
ADMITTED: tuple[dict[str, Any], ...] = (
    WATCHED,
    {"monitoring": {"enabled": False}},
    {"monitoring": {"rules": "always", "clusterMetrics": False}},
    {"monitoring": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": None}}}},
    WATCHED | {"agents": {"experts": {"security": {"replicas": 0}, "architecture": {"replicas": 0}}}},
    WATCHED | {"agents": {"enabled": False}, "bridge": {"enabled": False}},
    WATCHED | {"fuse-csi": {"enabled": False}},
    {
        "agents": {
            "namespace": {"annotations": NOTE},
            "serviceAccount": {"annotations": NOTE},
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
            "runtimeClassName": "gvisor",
            "image": {"registry": ""},
        },
        "bridge": {
            "service": {"annotations": NOTE},
            "serviceAccount": {"annotations": NOTE},
            "persistence": {"storageClass": "fast"},
        },
        "fuse-csi": {
            "namespace": {"annotations": NOTE},
            "serviceAccount": {"annotations": NOTE},
            "priorityClassName": "",
            "tolerations": [],
        },
    },
    {"agents": {"experts": {"security": None, "architecture": None}}},
    {"redis": {"enabled": True, "exporter": {"enabled": False}, "monitoring": {"rules": "always"}}},
    {"agents": {"enabled": False}},
    {"agents": {"enabled": False}, "bridge": {"enabled": False}},
    {"bridge": {"persistence": {"existingClaim": "claim"}}},
    {
        "bridge": {
            "replicas": 3,
            "preStopSeconds": 0,
            "database": {"host": "postgres", "existingSecret": "a", "existingTlsSecret": "b"},
            "redis": {"host": "redis", "existingSecret": "a", "existingTlsSecret": "b"},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ],
        }
    },
    {
        "bridge": {
            "database": {
                "host": "postgres",
                "existingSecret": "a",
                "existingTlsSecret": "b",
                "migration": {"enabled": False},
            }
        }
    },
    {"bridge": {"rules": {"existingConfigMap": "rules"}, "rego": {"existingConfigMap": "policies"}}},
    {"bridge": {"traces": {"url": "http://collector:4318/v1/traces"}}},
    {"networkPolicies": {"denyReleaseNamespace": False}},
    {
        "istio": {"enabled": True},
        "networkPolicies": {
            "denyReleaseNamespace": False,
            "clients": [
                {"ipBlock": {"cidr": "192.0.2.0/24"}},
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ci"}}},
            ],
        },
    },
    {"redis": {"enabled": True}},
    {"redis": {"enabled": True, "topologySpreadConstraints": []}},
    {"redis": {"enabled": True, "mode": "standalone", "monitoring": {"rules": "always"}}},
    {"guardrails": {"enabled": False}},
    {
        "guardrails": {
            "releaseNamespace": False,
            "registries": ["ghcr.io/cloudnative-pg"],
            "quotas": {"agents": None},
        },
        "access": {"viewers": [{"kind": "Group", "name": "developers"}]},
        "fuse-csi": {"enabled": False},
    },
)
PUBLIC = {"server": "https://acme.example/directory", "email": "a@example.com"}
ACME: dict[str, Any] = {"maker": "acme", "acme": PUBLIC}
PRIVATE = {"authority": "-----BEGIN CERTIFICATE-----eA==-----END CERTIFICATE-----"}
ISSUED: dict[str, Any] = {"maker": "issuer", "issuer": {"name": "public"}}
EDGE_ADMITTED: tuple[dict[str, Any], ...] = (
    {"traefik": {"entryPoints": {"http": ""}}},
    {"kind": "gateway", "annotations": {"example.com/owner": "platform"}},
    {"tls": ISSUED},
    {"kind": "gateway", "gateway": {"name": "shared", "listeners": {"http": ""}}},
)
EDGE_UNMEASURED: dict[str, Any] = {"monitoring": {"edgeMetrics": False}}
EDGE_REFUSED: tuple[dict[str, Any], ...] = (
    {"controller": "haproxy"},
    {"hosts": []},
    {"kind": "gateway", "controller": "haproxy"},
    {"kind": "gateway", "gateway": {"name": "shared"}, "tls": ISSUED},
    {"kind": "gateway", "gateway": {"namespace": "gateways"}},
    {"tls": {"maker": "release"}},
    {"tls": {"maker": "issuer", "existingSecret": "certificate"}},
    {"tls": {"maker": "issuer"}},
    {"tls": {"issuer": {"name": "public"}}},
    {"tls": ACME},
    {"tls": {"acme": PRIVATE}},
)
EDGE_WITHOUT: tuple[dict[str, Any], ...] = (
    {"bridge": {"trustedProxies": []}},
    {"networkPolicies": {"edge": []}},
    {"bridge": {"enabled": False}, "agents": {"enabled": False}},
    {"istio": {"enabled": False}, "edge": {"tls": {**ACME, "acme": PUBLIC | PRIVATE}}},
    {"istio": {"enabled": False}, "edge": {"kind": "gateway", "tls": ACME}},
)
EDGE_CERTIFIED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("own", EDGE_UNMEASURED | {"edge": {"controller": "haproxy"}}),
    ("cert-manager", {"edge": {"kind": "gateway", "tls": {"maker": "release"}}}),
    ("cert-manager", EDGE_UNMEASURED | {"edge": {"controller": "haproxy"}}),
    ("existing", {"bridge": {"tls": {"existingSecret": "b"}}, "agents": {"tls": {"existingSecret": "a"}}}),
    ("own", {"edge": {"clientTls": {"existingSecret": "client"}}}),
    ("own", {"edge": {"haproxy": {"authoritySecret": "authority"}}}),
)
CERTIFICATES = ("serverTLSSecret", "serverCASecret", "replicationTLSSecret", "clientCASecret")
POSTGRES_ADMITTED: tuple[dict[str, Any], ...] = (
    {},
    {"backup": {"enabled": False}, "pooler": {"enabled": False}},
    {
        "storageClass": {"cloud": "aws"},
        "podLabels": {"lighthouse.dev/access-bridge": "true", "example.com/team": "data"},
        "podAnnotations": NOTE,
        "serviceAccount": {"annotations": NOTE},
        "recovery": {"source": "before"},
        "certificates": dict.fromkeys(CERTIFICATES, "made-elsewhere"),
        "roles": {role: {"existingSecret": role} for role in ("migrator", "bridge", "exporter", "auditor")},
        "nodeSelector": {"example.com/disk": "fast"},
        "tolerations": [{"key": "data", "operator": "Exists"}],
        "priorityClassName": "high",
    },
    {
        "storageClass": {"name": "fast"},
        "recovery": {"source": "before", "targetTime": "2026-11-23T12:00:00Z"},
    },
)
POSTGRES_REFUSED: tuple[dict[str, Any], ...] = (
    {"backup": {"destinationPath": ""}},
    {"recovery": {"source": "lighthouse-postgres"}},
    {"certificates": {"serverTLSSecret": "one"}},
    {"roles": {"bridge": {"connectionLimit": 500}}},
)
USED: dict[str, Any] = {"database": {"own": True}, "redis": {"own": True, "cluster": True}}
OWN_ADMITTED: tuple[dict[str, Any], ...] = (
    {},
    {"bridge": {"database": {"readReplicas": True}, "autoscaling": {"enabled": True}}},
    {"bridge": {"database": {"migration": {"enabled": False}}}},
    {"bridge": {"database": {"existingTlsSecret": "authority"}}},
    *(
        {
            "global": {"certificates": {"maker": maker, "metrics": True}},
            "postgres": {"pooler": {"enabled": False}},
        }
        for maker in ("own", "cert-manager")
    ),
)
OWN_REFUSED: tuple[dict[str, Any], ...] = (
    {"postgres": {"enabled": False}},
    {"redis": {"enabled": False}},
    {"redis": {"mode": "standalone"}},
    {"redis": {"users": {"existingSecret": "users"}}},
    {"redis": {"tls": {"existingSecret": "certificate"}}},
    {"bridge": {"replicas": 60}},
    {"bridge": {"database": {"name": "other"}}},
)
VAULT = {"server": "https://vault.vault", "path": "pki/sign/x", "role": "x", "serviceAccount": "x"}


def _made_by(maker: str, **certificates: Any) -> dict[str, Any]:
    return {"global": {"certificates": {"maker": maker}}, "certificates": certificates}


CERTIFIED: tuple[dict[str, Any], ...] = (
    _made_by("own", clients=["hook"], addresses=["192.0.2.7"]),
    _made_by("cert-manager", issuer={"kind": "existing", "existing": {"name": "ours"}}),
    _made_by("cert-manager", issuer={"kind": "vault", "vault": VAULT}),
    _made_by("cert-manager") | {"redis": {"enabled": True, "tls": {"existingSecret": "certificate"}}},
    _made_by("own") | {"agents": {"enabled": False}, "bridge": {"enabled": False}},
)
CERTIFIED_WRONGLY: tuple[dict[str, Any], ...] = (
    {"global": {"certificates": {"metrics": True}}},
    _made_by("existing"),
    _made_by("own") | {"bridge": {"tls": {"existingSecret": "certificate"}}},
    _made_by("none", clients=["hook"]),
    _made_by("own", issuer={"kind": "vault"}),
    _made_by("cert-manager", issuer={"kind": "vault"}),
    _made_by("cert-manager", issuer={"existing": {"name": "ours"}}),
)
REFUSED: tuple[dict[str, Any], ...] = (
    {"certificates": {"edge": {"hosts": ["lighthouse.example"]}}},
    {"bridge": {"redis": {"own": True}}},
    {"bridge": {"database": {"readReplicas": True}}},
    {"bridge": {"drainSeconds": 60}},
    {"bridge": {"replicas": 3}},
    {"bridge": {"autoscaling": {"enabled": True}}},
    {"bridge": {"autoscaling": {"minReplicas": 20}}},
    {"bridge": {"redis": {"host": "redis"}}},
    {"bridge": {"database": {"host": "postgres"}}},
    {"bridge": {"rego": {"url": "https://opa/v1/data/lighthouse/decisions"}}},
    {"bridge": {"traces": {"existingTlsSecret": "authority"}}},
    {
        "bridge": {
            "rego": {"url": "https://opa/v1/data/lighthouse/decisions", "existingConfigMap": "policies"}
        }
    },
    {"bridge": {"enabled": False}},
    {"bridge": {"keys": {"existingSecret": "keys"}}},
    {"bridge": {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}},
    {"agents": {"terminationGracePeriodSeconds": 20}},
    {"fuse-csi": {"stopDelaySeconds": 60}},
    {"bridge": {"resources": {"requests": {"cpu": "9"}}}},
    {"redis": {"enabled": True, "handoverSeconds": 60}},
    {"agents": {"fuse": {"cacheMiB": 4096}}},
    {"global": {"unknown": "x"}},
    {"enabled": True},
    {
        "istio": {"enabled": True},
        "networkPolicies": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "build"}}}]},
    },
    {"bridge": {"podLabels": {"lighthouse.dev/access-bridge": "true"}}},
    {"agents": {"podLabels": {"lighthouse.dev/access-x": "true"}}},
)
OUT_OF_REACH = {
    r"range .*\(does not hold\)": "what the chart ranges over is never empty, or guarded by a with",
    r"if \.Chart\.IsRoot": "needs a chart that depends on this one",
    r"if \$expert \(": "an expert that is null is gone before templates see it",
    r"if ne \$level": "NOTES.txt asks a cluster for the namespace, and no cluster is there",
    r'if (or \()?\(?not \(hasKey \$(found|authority) "tls\.key"': "the certificate that a cluster has, and no cluster is there",
    r"with \.Values\.(rego|traces|certificates|pooler\.image) \(does not hold\)": "a map of values is never empty",
    r"if not \(semverCompare": "Helm itself refuses such a cluster before any template",
}
"""Branches that no render of the chart alone can come through, as patterns, and why."""


def _merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Nested values with others laid over them."""
    return values | {
        key: _merged(values[key], value) if isinstance(value, dict) and key in values else value
        for key, value in more.items()
    }


def _requests() -> list[Request]:
    plain = request_for("default")
    cases = [request_for(profile) for profile in profiles()]
    cases += [
        replace(plain, overrides=values) for values in (*ADMITTED, *REFUSED, *CERTIFIED, *CERTIFIED_WRONGLY)
    ]
    cases += [replace(plain, release=name) for name in ("shared", "a" * 53, f"lighthouse-{'a' * 42}")]
    cases += [replace(plain, namespace="n" * 60)]
    redis = {"redis": {"enabled": True}}
    bare = {"redis": {"enabled": True, "topologySpreadConstraints": []}}
    cases += [replace(plain, overrides=values, upgrade=True) for values in (redis, bare)]
    cases += [replace(plain, upgrade=True), replace(plain, kubernetes="1.30.0")]
    whole = WHOLE["postgres"]
    cases += [
        replace(plain, overrides=WHOLE | {"postgres": _merged(whole, values)})
        for values in (*POSTGRES_ADMITTED, *POSTGRES_REFUSED)
    ]
    cases += [
        replace(plain, overrides=_merged(_merged(WHOLE, {"bridge": USED}), values))
        for values in (*OWN_ADMITTED, *OWN_REFUSED)
    ]
    edges = [_merged(WHOLE, {"edge": values}) for values in (*EDGE_ADMITTED, *EDGE_REFUSED)]
    edges += [_merged(WHOLE, EDGE_UNMEASURED | {"edge": {"controller": "haproxy"}})]
    edges += [_merged(WHOLE, values) for values in EDGE_WITHOUT]
    edges += [
        _merged(WHOLE | {"global": {"certificates": {"maker": maker}}}, values)
        for maker, values in EDGE_CERTIFIED
    ]
    cases += [replace(plain, overrides=values) for values in edges]
    mesh = {"istio": {"enabled": True}}
    cases += [
        replace(plain, overrides=values, api_versions=())
        for values in (
            WHOLE | {"istio": {}, "edge": {}},
            mesh,
            {part: WHOLE[part] for part in ("edge", "bridge", "networkPolicies")},
            _made_by("cert-manager"),
        )
    ]
    cases += [
        replace(
            plain, overrides=WHOLE | {"networkPolicies": WHOLE["networkPolicies"] | {peers: {"peers": []}}}
        )
        for peers in ("apiServer", "objectStore")
    ]
    return cases


def test_every_branch_is_rendered_or_out_of_reach(renderer: Renderer) -> None:
    result = coverage(renderer, _requests())
    unknown = [
        str(place) for place in result.missed if not any(re.search(text, str(place)) for text in OUT_OF_REACH)
    ]
    assert not unknown, "\n".join(unknown)
    assert result.share > 0.85
