"""PostgreSQL's certificate by cert-manager: for the names of its Services, and believed by whoever connects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.documents import thaw
from lighthouse_harness.manifests import merge

from .conftest import WHOLE, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

Values = dict[str, Any]
NAME = "lighthouse-postgres"
SECRET = f"{NAME}-tls"
NOTHING: Values = {}
OWN: Values = {"bridge": {"replicas": 2, "database": {"own": True}, "redis": {"own": True, "cluster": True}}}
ELSEWHERE = {
    "serverTLSSecret": "server",
    "serverCASecret": "server",
    "replicationTLSSecret": "replicas",
    "clientCASecret": "replicas",
}


def rendered(renderer: Renderer, maker: str, values: Values = NOTHING) -> Render:
    """Bridges on the PostgreSQL of their release, with a maker of certificates."""
    chosen = {"global": {"certificates": {"maker": maker}}}
    overrides = merge(merge(merge(WHOLE, OWN), chosen), values)
    return renderer.render(replace(request_for("default"), overrides=overrides))


def the(render: Render, kind: str, part: str) -> Object:
    """The one object of a kind whose name has this part."""
    (found,) = (item for item in render.select(kind, may_be_empty=True) if part in item.name)
    return found


def database_tls(workload: Object) -> list[tuple[str, list[str]]]:
    """The Secrets of what a workload knows the database by, with the keys that it sees of each."""
    (volume,) = (v for v in workload.at("spec.template.spec.volumes") if v["name"] == "database-tls")
    sources = [thaw(source)["secret"] for source in volume["projected"]["sources"]]
    return [(source["name"], [item["key"] for item in source["items"]]) for source in sources]


def test_cert_manager_is_asked_for_the_names_of_each_service(renderer: Renderer) -> None:
    without = {"postgres": {"pooler": {"enabled": False}}}
    asked = the(rendered(renderer, "cert-manager", without), "Certificate", NAME)
    assert asked.name == asked.at("spec.secretName") == SECRET
    services = ("rw", "ro", "r")
    ends = ("", ".lighthouse", ".lighthouse.svc", ".lighthouse.svc.cluster.local")
    assert set(asked.at("spec.dnsNames")) == {
        f"{NAME}-{service}{end}" for service in services for end in ends
    }
    assert set(asked.at("spec.usages")) == {"digital signature", "server auth"}
    # Without the label CloudNativePG would go on with the former certificate until it looks by itself.
    assert asked.at("spec.secretTemplate.labels")["cnpg.io/reload"] == "true"
    assert asked.at("metadata.labels").get("cnpg.io/reload") is None


def test_clients_of_pgbouncer_know_it_by_the_same_certificate(renderer: Renderer) -> None:
    render = rendered(renderer, "cert-manager", {"postgres": {"pooler": {"enabled": True}}})
    pooler = the(render, "Pooler", NAME).name
    assert f"{pooler}.lighthouse.svc" in the(render, "Certificate", NAME).at("spec.dnsNames")


def test_the_operator_shows_it_and_makes_those_of_replicas(renderer: Renderer) -> None:
    told = the(rendered(renderer, "cert-manager"), "Cluster", NAME).at("spec.certificates")
    assert dict(told) == {"serverTLSSecret": SECRET, "serverCASecret": SECRET}


def test_bridges_and_their_migration_believe_its_authority_and_see_no_key_of_the_server(
    renderer: Renderer,
) -> None:
    render = rendered(renderer, "cert-manager")
    for workload in (the(render, "Deployment", "-bridge"), the(render, "Job", "-migration")):
        assert database_tls(workload) == [(SECRET, ["ca.crt"])]


@pytest.mark.parametrize("maker", ["none", "own", "existing"])
def test_without_cert_manager_all_is_the_operators(maker: str, renderer: Renderer) -> None:
    named = {
        "bridge": {"tls": {"existingSecret": "b"}},
        "agents": {"tls": {"existingSecret": "a"}},
        "edge": {"clientTls": {"existingSecret": "c"}},
    }
    render = rendered(renderer, maker, named if maker == "existing" else NOTHING)
    # The names of the pooler are the operator's to put into its certificate.
    assert set(thaw(the(render, "Cluster", NAME).document)["spec"].get("certificates", {})) <= {
        "serverAltDNSNames"
    }
    assert not render.select("Certificate", may_be_empty=True)
    assert {name for name, _ in database_tls(the(render, "Deployment", "-bridge"))} == {f"{NAME}-ca"}


def test_secrets_that_are_named_win(renderer: Renderer) -> None:
    values = {
        "postgres": {"certificates": ELSEWHERE},
        "bridge": {"database": {"existingTlsSecret": "server"}},
    }
    render = rendered(renderer, "cert-manager", values)
    assert dict(the(render, "Cluster", NAME).at("spec.certificates")) == ELSEWHERE
    assert SECRET not in {item.name for item in render.select("Certificate")}
    seen = dict(database_tls(the(render, "Job", "-migration")))
    assert set(seen) == {"server"}
