"""The Job that brings the tables of bridges on PostgreSQL up to date before an install or upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.chart.chart_render import Manifest, one, render

if TYPE_CHECKING:
    from pathlib import Path

NAME = "lighthouse-migration"
DATABASE = {"host": "postgres", "existingSecret": "login", "existingTlsSecret": "authority"}
PEERS = {"database": {"peers": [{"ipBlock": {"cidr": "192.0.2.0/28"}}]}}


def found(program: Path, **database: Any) -> list[Manifest]:
    return render(program, {"bridge": {"database": {**DATABASE, **database}}, "networkPolicies": PEERS})


def migrations(objects: list[Manifest]) -> list[str]:
    return [each["kind"] for each in objects if each["metadata"]["name"] == NAME]


def secrets(job: Manifest) -> set[str]:
    return {
        source["secret"].get("secretName") or source["secret"]["name"]
        for volume in job["spec"]["template"]["spec"]["volumes"]
        for source in ([volume] if "secret" in volume else volume.get("projected", {}).get("sources", []))
    }


def test_it_runs_before_anything_of_the_release_changes_and_leaves_nothing(program: Path) -> None:
    objects = found(program)
    # The namespace is denied all by the release that is there, which may not have used this database.
    kinds = ("NetworkPolicy", "ServiceAccount", "Job")
    policy, account, job = (one(objects, kind, NAME) for kind in kinds)
    weights = []
    for each in (policy, account, job):
        annotations = each["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert "before-hook-creation,hook-succeeded" in annotations["helm.sh/hook-delete-policy"]
        weights.append(int(annotations["helm.sh/hook-weight"]))
    assert max(weights[:2]) < weights[2], "the account and the way to the database come before the Job"
    assert job["spec"]["activeDeadlineSeconds"] == 600
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_it_has_the_image_of_the_bridges_and_of_secrets_the_logins_alone(program: Path) -> None:
    objects = found(program)
    job = one(objects, "Job", NAME)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (bridge,) = one(objects, "Deployment", "lighthouse-bridge")["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["args"]) == (bridge["image"], ["migrate"])
    assert secrets(job) == {"login", "authority"}


def test_it_may_have_a_login_of_its_own(program: Path) -> None:
    objects = found(program, migration={"existingSecret": "owner"})
    assert secrets(one(objects, "Job", NAME)) == {"owner", "authority"}
    assert "owner" not in str(one(objects, "Deployment", "lighthouse-bridge"))


def test_it_is_there_for_a_database_that_is_there_before(program: Path) -> None:
    assert migrations(render(program)) == []
    assert migrations(found(program, migration={"enabled": False})) == ["NetworkPolicy"]
    assert sorted(migrations(found(program))) == ["Job", "NetworkPolicy", "ServiceAccount"]
