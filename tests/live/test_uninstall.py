"""What an uninstall leaves: nothing of the release, even where helm could not read an object."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ci.release import uninstall
from tests.live.support import applied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster

pytestmark = pytest.mark.live

NAME = "half-blind"
RBAC = "rbac.authorization.k8s.io"
TEMPLATE = """
{{- range list "read" "unread" }}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ . }}
  labels:
    app.kubernetes.io/instance: {{ $.Release.Name }}
    app.kubernetes.io/managed-by: {{ $.Release.Service }}
{{- end }}
"""
RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "watch", "delete"]},
    {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["read"], "verbs": ["get"]},
]
ROLE = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": NAME}, "rules": RULES}
BINDING = {
    "apiVersion": f"{RBAC}/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": NAME},
    "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": NAME},
    "subjects": [{"apiGroup": RBAC, "kind": "User", "name": NAME}],
}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}


@pytest.fixture
def half_blind(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The cluster for somebody whose requests for one object of a release fail."""
    assert cluster.kubeconfig is not None
    config = json.loads(cluster.kubeconfig.read_text())
    config["users"][0]["user"]["as"] = NAME
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    with applied(cluster, NAMESPACE, ROLE, BINDING):
        yield replace(cluster, kubeconfig=path)


def test_uninstall_takes_away_what_helm_could_not_read(
    cluster: Cluster, half_blind: Cluster, tmp_path: Path
) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(json.dumps({"apiVersion": "v2", "name": "small", "version": "0.1.0"}))
    (chart / "templates" / "maps.yaml").write_text(TEMPLATE)
    cluster.helm("install", "small", chart, "--namespace", NAME)

    def left() -> list[str]:
        found = cluster.get("configmaps", "-n", NAME, "-l", "app.kubernetes.io/instance=small")
        return sorted(item["metadata"]["name"] for item in found["items"])

    assert left() == ["read", "unread"]
    said = uninstall(half_blind, "small", NAME)
    assert "[ConfigMap] unread" in said, "helm read it: this test shows nothing"
    assert left() == []
