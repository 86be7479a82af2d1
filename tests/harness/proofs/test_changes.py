"""The delta of two renders: what a cluster would refuse to change, and data that would be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lighthouse_harness.changes import upgrade
from lighthouse_harness.editing import with_value, without
from lighthouse_harness.manifests import read_objects
from lighthouse_harness.model import EmptySelectionError, Render, Request

BEFORE = """\
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  volumeClaimTemplates:
    - metadata: {name: data, labels: {app: db}}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: migrate}
spec: {template: {spec: {containers: [{name: c, image: "c:1"}]}}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: fast}
provisioner: ebs.csi.aws.com
parameters: {type: gp3}
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: fuse}
spec: {attachRequired: false, volumeLifecycleModes: [Ephemeral]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
immutable: true
data: {a: b}
"""

REFUSED = (
    ("StatefulSet/n/db spec.selector.matchLabels.app", "x", "spec.selector.matchLabels.app"),
    ("StatefulSet/n/db spec.serviceName", "x", "spec.serviceName"),
    ("StatefulSet/n/db spec.podManagementPolicy", "Parallel", "spec.podManagementPolicy"),
    (
        "StatefulSet/n/db spec.volumeClaimTemplates[0].metadata.labels.version",
        "2",
        "spec.volumeClaimTemplates[0].metadata.labels.version",
    ),
    ("Service/n/db spec.clusterIP", "10.0.0.1", "spec.clusterIP"),
    ("Job/n/migrate spec.template.spec.containers[0].image", "c:2", "spec.template.spec.containers[0].image"),
    ("StorageClass/fast parameters.type", "io2", "parameters.type"),
    ("StorageClass/fast reclaimPolicy", "Retain", "reclaimPolicy"),
    ("CSIDriver/fuse spec.podInfoOnMount", True, "spec.podInfoOnMount"),
    ("PersistentVolumeClaim/n/data spec.storageClassName", "fast", "spec.storageClassName"),
    ("RoleBinding/n/reader roleRef.name", "writer", "roleRef.name"),
    ("ConfigMap/n/fixed data.a", "c", "data"),
)

ALLOWED = (
    ("StatefulSet/n/db spec.replicas", 3),
    ("StatefulSet/n/db spec.podManagementPolicy", "OrderedReady"),
    ("Service/n/db spec.ports", [{"port": 1}]),
    ("PersistentVolumeClaim/n/data spec.resources.requests.storage", "2Gi"),
    ("StorageClass/fast reclaimPolicy", "Delete"),
)


@pytest.fixture(name="before")
def _before() -> Render:
    return Render(Request(Path("db"), namespace="n"), read_objects(BEFORE, "n"))


@pytest.mark.parametrize(("address", "value", "path"), REFUSED)
def test_a_change_that_a_cluster_refuses_is_found_at_its_leaf(
    before: Render, address: str, value: object, path: str
) -> None:
    findings = upgrade(before, with_value(before, address, value)).findings
    assert [(finding.object, finding.path) for finding in findings] == [
        (address.split(" ", maxsplit=1)[0], path)
    ]


@pytest.mark.parametrize(("address", "value"), ALLOWED)
def test_a_change_that_a_cluster_accepts_is_not(before: Render, address: str, value: object) -> None:
    assert upgrade(before, with_value(before, address, value)).ok


def test_what_holds_data_must_not_disappear(before: Render) -> None:
    for ref in ("PersistentVolumeClaim/n/data", "StatefulSet/n/db"):
        findings = upgrade(before, without(before, ref)).findings
        assert [(finding.check, finding.object) for finding in findings] == [("change/lost", ref)]
    kept = with_value(
        before, 'PersistentVolumeClaim/n/data metadata.annotations["helm.sh/resource-policy"]', "keep"
    )
    assert upgrade(kept, without(kept, "PersistentVolumeClaim/n/data")).ok


def test_renders_without_a_common_object_are_not_a_pass(before: Render) -> None:
    with pytest.raises(EmptySelectionError):
        upgrade(before, before.with_objects([]))
