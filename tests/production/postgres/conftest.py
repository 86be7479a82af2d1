"""Fixtures of the PostgreSQL tests: the operators' cluster, an S3 server, and a release with the database alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from ci import images as image_builds
from ci.console import Steps
from ci.operators import images as operator_images
from ci.release import Cluster, install
from ci.settings import NAMESPACE, NODE_NETWORK, RELEASE, ROOT
from tests.live.support import eventually
from tests.production.postgres import faults
from tests.production.postgres.database import CLUSTER, Database, write_authority
from tests.production.postgres.s3 import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROFILE = ROOT / "charts" / "lighthouse" / "profiles" / "production-small.yaml"
ALONE = ("bridge", "agents", "fuse-csi", "redis")


@pytest.fixture(scope="session")
def local_images() -> operator_images.LocalImages:
    """The images on the cluster's nodes, from the cache."""
    steps = Steps(quiet=True)
    return operator_images.build(steps, image_builds.base_image(steps))


@pytest.fixture(scope="session")
def values(local_images: operator_images.LocalImages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A values file for the local cluster: the database alone, its image by its local name, this host as a client."""
    image = local_images.postgresql.values
    nodes = [{"ipBlock": {"cidr": str(NODE_NETWORK)}}]
    content = {
        **{name: {"enabled": False} for name in ALONE},
        "networkPolicies": {"databaseClients": nodes, "apiServer": {"peers": nodes}},
        "guardrails": {"registries": ["localhost"]},
        "postgres": {"image": image, "pooler": {"image": image}},
    }
    path = tmp_path_factory.mktemp("values") / "local.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="session")
def object_store(
    cluster: Cluster, local_images: operator_images.LocalImages, tmp_path_factory: pytest.TempPathFactory
) -> ObjectStore:
    """The S3 server."""
    faults.bound_volumes()
    install_namespace(cluster)
    return ObjectStore(cluster, local_images.versitygw.reference, tmp_path_factory.mktemp("s3"))


def merged(files: Sequence[Path], target: Path) -> Path:
    """One values file of several, later ones over earlier ones, as helm merges them."""
    whole: dict[str, Any] = {}
    for file in files:
        _merge(whole, yaml.safe_load(file.read_text()))
    target.write_text(json.dumps(whole))
    return target


def _merge(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            _merge(whole[key], value)
        else:
            whole[key] = value


def install_namespace(cluster: Cluster) -> None:
    """The namespace of the release, which the Secrets of the S3 server are put into before the chart comes."""
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(wanted).encode())


@pytest.fixture(scope="session")
def database(
    cluster: Cluster, values: Path, object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> Database:
    """The database of the small production profile, healthy."""
    assert object_store.authority.exists()
    install(cluster, RELEASE, NAMESPACE, ["--values", str(PROFILE), "--values", str(values)], timeout="10m")
    authority = write_authority(cluster, CLUSTER, tmp_path_factory.mktemp("database"))
    found = Database(cluster, CLUSTER, authority)
    eventually(found.healthy, 600, "the database is healthy")
    return found
