"""Operators on a connected cluster: the manifests that are applied there, with the images that their projects publish."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ci.operators import manifests
from ci.operators.install import TOOLS, manifest

if TYPE_CHECKING:
    from ci.release import Cluster

PUBLISHED = manifests.published(TOOLS["cloudnative-pg"].version, TOOLS["barman-plugin"].version)


def test_published_manifests_are_accepted_as_they_would_be_installed(cluster: Cluster) -> None:
    """As far as it goes where no image can be pulled: the API server, with the operators' own webhooks, takes them."""
    documents = [
        *manifests.cloudnative_pg(manifest("cloudnative-pg", "releases/cnpg-{version}.yaml"), PUBLISHED),
        *manifests.barman_plugin(manifest("barman-plugin", "manifest.yaml"), PUBLISHED),
    ]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    words = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-o", "name", "-f", "-"]
    accepted = cluster.kubectl(*words, stdin=listed.encode()).split()
    assert len(accepted) == len(documents) > 30
    named = set(re.findall(r'"image": "([^"]+)"', listed))
    assert named == {PUBLISHED.operator, PUBLISHED.plugin}


def test_the_operators_image_is_the_one_that_its_project_names() -> None:
    own = manifest("cloudnative-pg", "releases/cnpg-{version}.yaml")
    assert set(re.findall(r"image: (\S+)", own)) == {PUBLISHED.operator}
