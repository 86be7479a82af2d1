"""Bridges on the PostgreSQL and the Redis of their own release: one switch each, names and Secrets follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.manifests import merge
from lighthouse_harness.render import RenderError

from .conftest import WHOLE, request_for, shipped_profiles

if TYPE_CHECKING:
    from lighthouse_harness.model import Object, Render, Request
    from lighthouse_harness.render import Renderer

USED: dict[str, Any] = {
    "bridge": {"replicas": 3, "database": {"own": True}, "redis": {"own": True, "cluster": True}}
}
NOTHING: dict[str, Any] = {}


def request(values: dict[str, Any] = NOTHING) -> Request:
    """Bridges on the release's own stores, with `values` over that."""
    return replace(request_for("default"), overrides=merge(merge(WHOLE, USED), values))


def bridge(render: Render) -> Object:
    """The bridges of a render."""
    (found,) = (item for item in render.select("Deployment") if item.name.endswith("-bridge"))
    return found


def migration(render: Render) -> Object:
    """The migration of a render."""
    (found,) = (item for item in render.select("Job") if "-migration" in item.name)
    return found


def environment(workload: Object) -> dict[str, str]:
    """The variables of a workload's only container."""
    (container,) = workload.at("spec.template.spec.containers")
    return {variable["name"]: variable["value"] for variable in container["env"]}


def secrets(workload: Object) -> dict[str, set[str]]:
    """The Secrets of each volume of a workload."""
    found: dict[str, set[str]] = {}
    for volume in workload.at("spec.template.spec.volumes"):
        sources = [volume, *volume.get("projected", {}).get("sources", ())]
        names = {
            source["secret"].get("secretName") or source["secret"]["name"]
            for source in sources
            if "secret" in source
        }
        if names:
            found[volume["name"]] = names
    return found


@pytest.mark.proves(4, level="rendered")
def test_production_has_three_bridges_of_2_cpu_and_4_gi(renderer: Renderer) -> None:
    found = bridge(renderer.render(request_for("production")))
    assert found.at("spec.replicas") == 3
    (container,) = found.at("spec.template.spec.containers")
    for kind in ("requests", "limits"):
        amounts = container["resources"][kind]
        assert (amounts["cpu"], amounts["memory"]) == ("2", "4Gi")
    assert environment(found)["LIGHTHOUSE_TOTAL_PER_SECOND"] == "1000"


@pytest.mark.proves(20, level="rendered")
@pytest.mark.parametrize("shipped", shipped_profiles())
def test_bridges_of_a_production_profile_are_on_its_own_postgresql_and_redis(
    shipped: str, renderer: Renderer
) -> None:
    render = renderer.render(request_for(shipped))
    assert [item.name for item in render.select("StatefulSet") if item.name.endswith("-bridge")] == []
    found = bridge(render)
    assert found.at("spec.replicas") == 3
    (database,) = render.select("Cluster")
    variables = environment(found)
    assert variables["LIGHTHOUSE_DATABASE_HOST"] == f"{database.name}-rw"
    assert variables["LIGHTHOUSE_DATABASE_NAME"] == database.at("spec.bootstrap.initdb.database")
    (nodes,) = (item for item in render.select("StatefulSet") if item.name.endswith("-redis"))
    assert (
        variables["LIGHTHOUSE_REDIS_URL"] == f"rediss://{nodes.name}.{nodes.namespace}.svc.cluster.local:6379"
    )
    assert variables["LIGHTHOUSE_REDIS_MODE"] == "cluster"
    assert variables["LIGHTHOUSE_REDIS_USERNAME"] == "bridge"
    (login,) = (
        role["passwordSecret"]["name"]
        for role in database.at("spec.managed.roles")
        if role["name"] == "bridge"
    )
    mounted = secrets(found)
    assert mounted["database"] == {login}
    assert mounted["database-tls"] == {f"{database.name}-ca"}
    made = {item.name for item in render.select("Secret")}
    assert mounted["database"] | mounted["redis"] | mounted["redis-tls"] <= made


def test_queries_go_to_replicas_by_option_and_to_the_primary_if_there_is_none(renderer: Renderer) -> None:
    assert "LIGHTHOUSE_DATABASE_READ_HOST" not in environment(bridge(renderer.render(request())))
    values = {"bridge": {"database": {"readReplicas": True}}}
    variables = environment(bridge(renderer.render(request(values))))
    assert variables["LIGHTHOUSE_DATABASE_READ_HOST"] == "lighthouse-postgres-ro,lighthouse-postgres-rw"


def test_the_migration_is_beside_the_database_and_runs_as_the_owner_of_the_tables(renderer: Renderer) -> None:
    render = renderer.render(request())
    job, database = migration(render), render.select("Cluster")[0]
    account = next(item for item in render.select("ServiceAccount") if item.name.endswith("-migration"))
    for item in (job, account):
        assert not [key for key in item.at("metadata.annotations") or {} if "helm.sh/hook" in key], item.ref
    owner = database.at("spec.bootstrap.initdb.secret.name")
    assert secrets(job) == {"database": {owner}, "database-tls": {f"{database.name}-ca"}}
    assert owner not in str(bridge(render).document)
    assert job.at("spec.activeDeadlineSeconds") == 600
    assert environment(job)["LIGHTHOUSE_MIGRATION_WAIT_SECONDS"] == "600"
    assert (
        job.at("spec.template.spec.containers")[0]["image"]
        == (bridge(render).at("spec.template.spec.containers")[0]["image"])
    )


def test_a_new_image_has_a_job_of_a_new_name_and_the_same_values_have_the_same(renderer: Renderer) -> None:
    plain = migration(renderer.render(request()))
    assert migration(renderer.render(request())).name == plain.name
    for values in (
        {"bridge": {"image": {"tag": "9.9.9"}}},
        {"bridge": {"database": {"migration": {"seconds": 900}}}},
        {"bridge": {"podLabels": {"example.com/team": "data"}}},
    ):
        other = migration(renderer.render(request(values)))
        assert other.name != plain.name, values
        assert len(other.name) <= 63
    longest = migration(renderer.render(replace(request(), release=f"lighthouse-{'a' * 42}")))
    assert len(longest.name) <= 63


@pytest.mark.parametrize(
    ("values", "mounted"),
    [
        (
            {
                "postgres": {"roles": {"bridge": {"existingSecret": "x"}}},
                "bridge": {"database": {"existingSecret": "x"}},
            },
            {"database": {"x"}},
        ),
        (
            {
                "redis": {
                    "users": {"existingSecret": "all"},
                    "tls": {"existingSecret": "n", "existingClientSecret": "y"},
                },
                "bridge": {"redis": {"existingSecret": "x", "existingTlsSecret": "y"}},
            },
            {"redis": {"x"}, "redis-tls": {"y"}},
        ),
    ],
)
def test_secrets_made_elsewhere_are_taken_by_both_sides(
    values: dict[str, Any], mounted: dict[str, set[str]], renderer: Renderer
) -> None:
    found = secrets(bridge(renderer.render(request(values))))
    assert mounted.items() <= found.items()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"postgres": {"enabled": False}}, "bridge.database.own is true but postgres.enabled is false; set"),
        ({"redis": {"enabled": False}}, "bridge.redis.own is true but redis.enabled is false; set"),
        (
            {"bridge": {"database": {"host": "p"}}},
            'bridge.database.own is true but bridge.database.host is "p"; leave it at "", or set bridge.database.own',
        ),
        (
            {"bridge": {"database": {"name": "other"}}},
            'bridge.database.own is true but bridge.database.name is "other"; leave it at "lighthouse", or',
        ),
        (
            {"bridge": {"redis": {"port": 7000}}},
            "bridge.redis.own is true but bridge.redis.port is 7000; leave it at 6379, or",
        ),
        (
            {"redis": {"mode": "standalone"}},
            'bridge.redis.cluster is true but redis.mode is "standalone"; set bridge.redis.cluster to false',
        ),
        (
            {"postgres": {"roles": {"migrator": {"existingSecret": "x"}}}},
            'postgres.roles.migrator.existingSecret is "x" and bridge.database.migration.existingSecret is ""; name',
        ),
        (
            {"bridge": {"database": {"existingTlsSecret": "x"}}},
            'postgres.certificates.serverCASecret is "" and bridge.database.existingTlsSecret is "x"; name the same',
        ),
        (
            {"redis": {"users": {"existingSecret": "x"}}},
            'redis.users.existingSecret is "x" and bridge.redis.existingSecret is ""; set both',
        ),
        (
            {"redis": {"tls": {"existingSecret": "n"}}},
            'redis.tls.existingSecret is "n" and redis.tls.existingClientSecret is ""; set both, so that clients',
        ),
        (
            {"redis": {"tls": {"existingSecret": "n", "existingClientSecret": "y"}}},
            'redis.tls.existingClientSecret is "y" and bridge.redis.existingTlsSecret is ""; name the same',
        ),
        (
            {"bridge": {"redis": {"clientCertificate": True}}},
            "bridge.redis.own is true but bridge.redis.clientCertificate is true; leave it at false, or",
        ),
        (
            {"bridge": {"replicas": 20}},
            "bridge.replicas is 20, and with the one that an update adds they hold up to 126 connections, but "
            "postgres.roles.bridge.connectionLimit is 120; raise",
        ),
    ],
)
def test_what_contradicts_the_switch_fails_in_one_sentence(
    values: dict[str, Any], sentence: str, renderer: Renderer
) -> None:
    with pytest.raises(RenderError) as refused:
        renderer.render(request(values))
    assert sentence in str(refused.value)
