"""A cluster that has neither our images nor a registry of ours takes the release from its bundle alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import tarfile
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from ci import images
from ci.bundle import archive
from ci.console import run
from ci.release import bridge_service, role_key, service_url, uninstall
from ci.settings import NAMESPACE, RELEASE, ROOT, VERSIONS

from .conftest import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Release, Site

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a cluster"),
]

# One server, by which all images of Redis are used too.
REDIS = {"redis": {"enabled": True, "mode": "standalone"}}
CLIENTS = {"networkPolicies": {"clients": [{"ipBlock": {"cidr": NETWORKS["NODE_NETWORK"]}}]}}
WITH_REDIS = CLIENTS | REDIS


@pytest.fixture(scope="module")
def delivered(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The release as it arrives at a site, which writes its own files beside it."""
    folder = tmp_path_factory.mktemp("site") / release.bundle.name
    return dataclasses.replace(release, bundle=shutil.copytree(release.bundle, folder))


def digests(release: Release) -> dict[str, str]:
    return {name: archive.image_digest(release.bundle / "images" / name) for name in images.RELEASED}


def used_images(site: Site) -> set[str]:
    """The image of every container of the release's pods, all of which must be ready; a pod that ends is none of it."""
    found: set[str] = set()
    for pod in site.cluster.get("pods", "--all-namespaces")["items"]:
        if pod["metadata"]["namespace"].startswith(NAMESPACE) and "deletionTimestamp" not in pod["metadata"]:
            statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"]["containerStatuses"]]
            assert all(status["ready"] for status in statuses), pod["metadata"]["name"]
            spec = pod["spec"]
            found |= {one["image"] for one in [*spec.get("initContainers", []), *spec["containers"]]}
    return found


@contextlib.contextmanager
def operator(site: Site) -> Iterator[httpx.Client]:
    """A client with an operator's session at the bridge."""
    with role_key(site.cluster, RELEASE, NAMESPACE, "operator") as key:
        authorization = {"Authorization": f"Bearer {key.read_text().strip()}"}
    body = {"agent_id": "release", "ip_address": "127.0.0.1", "user_agent": "release tests"}
    address = service_url(bridge_service(site.cluster, RELEASE, NAMESPACE))
    with httpx.Client(base_url=address, timeout=10, headers={"User-Agent": body["user_agent"]}) as client:
        answer = client.post("/session/create", json=body, headers=authorization)
        answer.raise_for_status()
        client.headers["Authorization"] = f"Bearer {answer.json()['session_token']}"
        yield client


def write_values(release: Release, values: dict[str, Any]) -> Path:
    file = release.bundle / "values.yaml"
    file.write_text(json.dumps(values))
    return file


def test_fresh_cluster_installs_from_the_bundle_alone(delivered: Release, site: Site) -> None:
    present = run([site.programs / "ctr", "--namespace", "k8s.io", "images", "list", "--quiet"]).split()
    assert present, "a cluster holds at least the images of its own parts"
    assert [name for name in present if "/lighthouse/" in name] == []
    write_values(delivered, WITH_REDIS)
    for step in ("load", "namespace", "install"):
        delivered.step(step, site.env, site.path)
    expected = {f"localhost/lighthouse/{name}@{digest}" for name, digest in digests(delivered).items()}
    assert used_images(site) == expected
    events = site.cluster.get("events", "--all-namespaces", "--field-selector", "reason=Pulling")["items"]
    assert [event["message"] for event in events if "/lighthouse/" in event["message"]] == []
    with operator(site) as client:
        body = {"operation": "create", "file_path": "notes.txt", "content": "kept\n", "agent_id": "release"}
        client.post("/shadow/update", json=body).raise_for_status()
    where = [
        "--namespace",
        f"{NAMESPACE}-agents",
        f"deploy/{RELEASE}-agents-security",
        "--container",
        "agent",
    ]
    deadline = time.monotonic() + 30
    while "notes.txt" not in site.cluster.kubectl(
        "exec", *where, "--", "ls", "/mnt/lighthouse/project/current"
    ):
        assert time.monotonic() < deadline, "the agent does not see what the bridge holds"
        time.sleep(0.5)
    uninstall(site.cluster, RELEASE, NAMESPACE)


def previous_chart(helm: Path, folder: Path) -> Path:
    """The package of the release before, made from its commit."""
    commit = VERSIONS["release"]["previous"]
    file = folder / "previous.tar"
    run(["git", "archive", "--output", file, commit, "charts/lighthouse"], cwd=ROOT)
    with tarfile.open(file) as content:
        content.extractall(folder, filter="data")
    run([helm / "helm", "package", folder / "charts" / "lighthouse", "--destination", folder / "package"])
    (package,) = (folder / "package").glob("*.tgz")
    return package


def test_upgrade_from_the_previous_package_comes_from_a_registry_by_digest(
    delivered: Release, site: Site, registry: str, helm: Path, tmp_path: Path
) -> None:
    """The previous chart runs this release's images: what is upgraded is what Kubernetes keeps of the chart."""
    known = digests(delivered)
    pins = {
        "bridge": {"image": {"digest": known["bridge"]}},
        "agents": {"image": {"digest": known["agent"]}, "fuse": {"image": {"digest": known["fuse-csi"]}}},
        "fuse-csi": {"image": {"digest": known["fuse-csi"]}},
    }
    values = write_values(delivered, CLIENTS | pins)
    for step in ("load", "namespace"):
        delivered.step(step, site.env, site.path)
    words = ["--namespace", NAMESPACE, "--values", str(values), "--wait", "--timeout", "5m"]
    site.cluster.helm("upgrade", "--install", RELEASE, previous_chart(helm, tmp_path), *words)
    with operator(site) as client:
        body = {"operation": "create", "file_path": "kept.txt", "content": "kept\n", "agent_id": "release"}
        client.post("/shadow/update", json=body).raise_for_status()

    write_values(delivered, WITH_REDIS)
    env = {**site.env, "REGISTRY": registry, "PLAIN_HTTP": "--plain-http"}
    for step in ("push", "install-from-registry"):
        delivered.step(step, env, site.path, site.network)
    digest = (delivered.bundle / "chart.digest").read_text().strip()
    assert digest.startswith("sha256:")
    assert used_images(site) == {f"{registry}/lighthouse/{name}@{digest}" for name, digest in known.items()}
    with operator(site) as client:
        answer = client.get("/shadow/read/kept.txt")
        assert (answer.status_code, answer.text) == (200, "kept\n")

    pulled = tmp_path / "pulled"
    pulled.mkdir()
    reference = f"oci://{registry}/charts/lighthouse@{digest}"
    run([*site.network, helm / "helm", "pull", reference, "--plain-http", "--destination", pulled])
    (package,) = pulled.glob("*.tgz")
    assert archive.sha256(package) == archive.sha256(delivered.package)
