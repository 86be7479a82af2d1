"""What an upgrade would change: fields that a cluster does not let change, and objects that go away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .documents import MISSING, thaw, walk
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .model import Object, Render

IMMUTABLE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "ReplicaSet"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.selector", "spec.serviceName", "spec.podManagementPolicy", "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): (
        "spec.selector", "spec.template", "spec.completionMode", "spec.completions", "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex", "spec.managedBy",
    ),
    ("", "Service"): ("spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies[0]", "spec.loadBalancerClass"),
    ("", "PersistentVolumeClaim"): (
        "spec.storageClassName", "spec.accessModes", "spec.volumeMode", "spec.volumeName", "spec.selector",
        "spec.dataSource", "spec.dataSourceRef",
    ),
    ("", "PersistentVolume"): ("spec.csi", "spec.hostPath", "spec.local", "spec.nfs", "spec.nodeAffinity"),
    ("", "Secret"): ("type",),
    ("storage.k8s.io", "StorageClass"): (
        "provisioner", "parameters", "reclaimPolicy", "volumeBindingMode", "mountOptions",
    ),
    ("storage.k8s.io", "CSIDriver"): (
        "spec.attachRequired", "spec.volumeLifecycleModes", "spec.podInfoOnMount", "spec.fsGroupPolicy",
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): ("driverName", "parameters"),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("scheduling.k8s.io", "PriorityClass"): ("value", "preemptionPolicy"),
    ("node.k8s.io", "RuntimeClass"): ("handler",),
    ("networking.k8s.io", "IngressClass"): ("spec.controller",),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("spec.group", "spec.scope", "spec.names.plural"),
    ("postgresql.cnpg.io", "Cluster"): ("spec.storage.storageClass", "spec.bootstrap"),
}  # fmt: skip
"""Fields that the API server (or the operator's webhook) refuses to change once the object is there."""

_DEFAULTS: Final[Mapping[str, Any]] = {
    "spec.podManagementPolicy": "OrderedReady",
    "spec.volumeMode": "Filesystem",
    "spec.completionMode": "NonIndexed",
    "reclaimPolicy": "Delete",
    "volumeBindingMode": "Immediate",
    "spec.attachRequired": True,
    "spec.podInfoOnMount": False,
    "preemptionPolicy": "PreemptLowerPriority",
    "type": "Opaque",
}
_KEPT_DATA: Final = frozenset(
    {"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition", "Cluster"}
)
_ASSIGNED: Final = frozenset({"spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies[0]", "spec.volumeName"})
"""Fields that the cluster fills in: a render that leaves them out changes nothing."""


def _value(item: Object, path: str) -> Any:
    value = item.at(path)
    return _DEFAULTS.get(path, value) if value is MISSING or value is None else thaw(value)


def _field_problems(old: Object, new: Object) -> Iterator[Finding]:
    for path in IMMUTABLE.get((new.group, new.kind), ()):
        before, after = _value(old, path), _value(new, path)
        if before == after or (path in _ASSIGNED and after is MISSING):
            continue
        for place, was, is_ in _differences(before, after, path):
            fix = f"keep {was!r}: the cluster refuses the change, and the upgrade stops"
            yield Finding("change/immutable", new.ref, place, is_, fix)
    if new.kind in {"ConfigMap", "Secret"} and old.at("immutable") is True:
        for path in ("data", "stringData", "binaryData"):
            if _value(old, path) != _value(new, path):
                fix = "give the object a new name: it is marked immutable"
                yield Finding("change/immutable", new.ref, path, "changed data", fix)


def _differences(before: Any, after: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The leaves that differ, so that a label in a claim template is named and not the whole template."""
    if not isinstance(before, (dict, list)) or not isinstance(after, (dict, list)):
        yield path, before, after
        return
    was, now = dict(walk(before, path)), dict(walk(after, path))
    for place in sorted(was.keys() | now.keys()):
        if was.get(place, MISSING) != now.get(place, MISSING):
            yield place, was.get(place, MISSING), now.get(place, MISSING)


def _lost(old: Render, new: Render) -> Iterator[Finding]:
    present = {item.key for item in new.objects}
    for item in old.objects:
        if item.key in present or item.hook or item.annotations.get("helm.sh/resource-policy") == "keep":
            continue
        holds_data = item.kind in _KEPT_DATA or (
            item.kind == "StatefulSet" and item.at("spec.volumeClaimTemplates")
        )
        if holds_data:
            fix = "keep its name, or mark it helm.sh/resource-policy: keep, and write down how data moves"
            yield Finding("change/lost", item.ref, "metadata.name", "removed by the upgrade", fix)


def upgrade(old: Render, new: Render) -> Verdict:
    """Whether a cluster that runs `old` accepts `new`, and keeps what holds data.

    Raises `EmptySelectionError` when the two have no object in common.
    """
    before = {item.key: item for item in old.objects if not item.hook}
    pairs = [(before[item.key], item) for item in new.objects if item.key in before and not item.hook]
    found = [finding for was, is_ in pairs for finding in _field_problems(was, is_)]
    return verdict("change", pairs, (*found, *_lost(old, new)))
