"""What the chart makes of PostgreSQL's values: parameters, storage classes, recovery, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lighthouse_harness.manifests import merge
from lighthouse_harness.render import RenderError

from .conftest import ROOT, WHOLE, request_for

if TYPE_CHECKING:
    from lighthouse_harness.model import Object, Render
    from lighthouse_harness.render import Renderer

PAGE = ROOT / "docs" / "postgres.md"
SHOWN = ("production", "production-small")
ROW = re.compile(r"^\| `([a-z_.]+)` \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)


def rendered(renderer: Renderer, values: dict[str, Any]) -> Render:
    """The defaults with PostgreSQL switched on, and `values` over them."""
    return renderer.render(replace(request_for("default"), overrides=merge(WHOLE, values)))


def cluster(render: Render) -> Object:
    """The database of a render."""
    (found,) = (item for item in render.objects if item.kind == "Cluster")
    return found


@pytest.mark.proves(11, level="rendered")
@pytest.mark.parametrize("column", range(len(SHOWN)), ids=SHOWN)
def test_the_page_shows_every_parameter_as_it_is_rendered(column: int, renderer: Renderer) -> None:
    table = PAGE.read_text().partition("<!-- parameters -->")[2].partition("## ")[0]
    shown = {row[0]: row[1 + column] for row in ROW.findall(table)}
    parameters = cluster(renderer.render(request_for(SHOWN[column]))).at("spec.postgresql.parameters")
    assert len(shown) > 25
    assert shown == dict(parameters)


@pytest.mark.proves(5, level="rendered")
def test_production_has_three_instances_of_8_cpu_and_32_gi(renderer: Renderer) -> None:
    database = cluster(renderer.render(request_for("production")))
    assert database.at("spec.instances") == 3
    for kind in ("requests", "limits"):
        amounts = database.at(f"spec.resources.{kind}")
        assert (amounts["cpu"], amounts["memory"]) == ("8", "32Gi")


def test_amounts_written_as_numbers_are_text_for_the_operator(renderer: Renderer) -> None:
    """Its kinds take a whole number or text, and refuse 1.5."""
    values = {"postgres": {"resources": {"requests": {"cpu": 0.5}, "limits": {"cpu": 1.5}}}}
    resources = cluster(rendered(renderer, values)).at("spec.resources")
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == ("0.5", "1.5")


def test_a_commit_needs_a_replica_in_every_profile(renderer: Renderer) -> None:
    for profile in SHOWN:
        synchronous = cluster(renderer.render(request_for(profile))).at("spec.postgresql.synchronous")
        assert dict(synchronous) == {
            "method": "any",
            "number": 1,
            "dataDurability": "required",
            "failoverQuorum": True,
        }


def test_a_bridge_sees_no_key_of_the_databases_authority(renderer: Renderer) -> None:
    """The Secret of CloudNativePG's authority holds `ca.key` beside the certificate."""
    database = {
        "host": "lighthouse-postgres-rw",
        "existingSecret": "lighthouse-postgres-bridge",
        "existingTlsSecret": "lighthouse-postgres-ca",
    }
    (bridge,) = (
        item
        for item in rendered(renderer, {"bridge": {"database": database}}).select("Deployment")
        if item.name == "lighthouse-bridge"
    )
    (volume,) = (v for v in bridge.at("spec.template.spec.volumes") if v["name"] == "database-tls")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert {source["name"] for source in sources} == {"lighthouse-postgres-ca"}
    seen = {source.get("optional", False): [i["key"] for i in source["items"]] for source in sources}
    assert seen == {False: ["ca.crt"], True: ["tls.crt", "tls.key"]}


def test_a_parameter_of_the_user_wins(renderer: Renderer) -> None:
    values = {"postgres": {"parameters": {"work_mem": "5MB", "jit": "off"}}}
    parameters = cluster(rendered(renderer, values)).at("spec.postgresql.parameters")
    assert (parameters["work_mem"], parameters["jit"]) == ("5MB", "off")
    assert parameters["shared_buffers"] == "512MB"


@pytest.mark.proves(23, level="rendered")
@pytest.mark.parametrize(
    ("cloud", "provisioner"),
    [("aws", "ebs.csi.aws.com"), ("gcp", "pd.csi.storage.gke.io"), ("azure", "disk.csi.azure.com")],
)
def test_each_cloud_has_a_class_that_grows_and_keeps(
    cloud: str, provisioner: str, renderer: Renderer
) -> None:
    render = rendered(renderer, {"postgres": {"storageClass": {"cloud": cloud}}})
    (found,) = render.select("StorageClass")
    assert found.at("provisioner") == provisioner
    assert found.at("allowVolumeExpansion") is True
    assert found.at("reclaimPolicy") == "Retain"
    for volume in ("storage", "walStorage"):
        assert cluster(render).at(f"spec.{volume}.storageClass") == found.name


def test_recovery_reads_the_origin_and_archives_under_its_own_name(renderer: Renderer) -> None:
    moment = "2026-11-23 21:00:00.25+00:00"
    values = {"postgres": {"recovery": {"source": "another-postgres", "targetTime": moment}}}
    database = cluster(rendered(renderer, values))
    assert database.at("spec.bootstrap.recovery.recoveryTarget.targetTime") == moment
    (origin,) = database.at("spec.externalClusters")
    assert origin["plugin"]["parameters"]["serverName"] == "another-postgres"
    (archive,) = database.at("spec.plugins")
    assert archive["parameters"]["serverName"] == database.name


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"networkPolicies": {"apiServer": {"peers": []}}}, "needs networkPolicies.apiServer.peers; list as"),
        ({"networkPolicies": {"objectStore": {"peers": []}}}, "need networkPolicies.objectStore.peers; list"),
        ({"postgres": {"backup": {"destinationPath": ""}}}, "need postgres.backup.destinationPath; name"),
        (
            {"postgres": {"recovery": {"source": "lighthouse-postgres"}}},
            'postgres.recovery.source is "lighthouse-postgres", which is this cluster itself; restore',
        ),
        (
            {"postgres": {"certificates": {"serverTLSSecret": "tls"}}},
            "name Secrets; set all of them, or none",
        ),
        (
            {"postgres": {"roles": {"bridge": {"connectionLimit": 200}}}},
            "postgres.roles.bridge.connectionLimit is 200 but must be below postgres.maxConnections, which is 200",
        ),
    ],
)
def test_what_is_missing_or_contradicts_fails_in_one_sentence(
    values: dict[str, Any], sentence: str, renderer: Renderer
) -> None:
    with pytest.raises(RenderError) as refused:
        rendered(renderer, values)
    assert sentence in str(refused.value)


def test_images_by_digest_keep_the_tag_that_the_operator_reads(renderer: Renderer) -> None:
    digest = f"sha256:{'a' * 64}"
    values = {"postgres": {"image": {"digest": digest}, "pooler": {"image": {"digest": digest}}}}
    render = rendered(renderer, values)
    assert cluster(render).at("spec.imageName") == (
        f"ghcr.io/cloudnative-pg/postgresql:18.4-system-trixie@{digest}"
    )
    (pooler,) = (item for item in render.objects if item.kind == "Pooler")
    images = [one["image"] for one in pooler.at("spec.template.spec.containers")]
    assert images == [f"ghcr.io/cloudnative-pg/pgbouncer@{digest}"]
    plain = rendered(renderer, {})
    assert cluster(plain).at("spec.imageName") == "ghcr.io/cloudnative-pg/postgresql:18.4-system-trixie"


@pytest.mark.parametrize(
    ("present", "sentence"),
    [
        (0, "postgres.enabled needs the API postgresql.cnpg.io/v1/Cluster, which the cluster does not have"),
        (1, "postgres.backup or postgres.recovery needs the API barmancloud.cnpg.io/v1/ObjectStore"),
        (2, "postgres.podMonitor.enabled needs the API monitoring.coreos.com/v1/PodMonitor"),
    ],
)
def test_a_missing_api_fails_with_the_way_to_get_it(present: int, sentence: str, renderer: Renderer) -> None:
    request = replace(request_for("default"), overrides=merge(WHOLE, {"istio": {"enabled": False}}))
    with pytest.raises(RenderError) as refused:
        renderer.render(replace(request, api_versions=request.api_versions[:present]))
    assert sentence in str(refused.value)
    assert "make operators" in str(refused.value)
