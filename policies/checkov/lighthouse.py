"""What generic scanners do not ask of a chart's manifests, as checks for checkov."""

from __future__ import annotations

from typing import Any

from checkov.common.models.enums import CheckCategories, CheckResult
from checkov.kubernetes.checks.resource.base_spec_check import BaseK8Check

WORKLOADS = ("CronJob", "DaemonSet", "Deployment", "Job", "Pod", "ReplicaSet", "StatefulSet")
Manifest = dict[str, Any]


class _Check(BaseK8Check):
    """A check that holds when an object has no problem."""

    number: int
    title: str
    kinds: tuple[str, ...] = WORKLOADS
    category = CheckCategories.KUBERNETES

    def __init__(self) -> None:
        super().__init__(
            name=self.title,
            id=f"CKV_LIGHTHOUSE_{self.number}",
            categories=[self.category],
            supported_entities=list(self.kinds),
        )

    def problem(self, manifest: Manifest) -> bool:
        """Whether the object breaks the rule."""
        raise NotImplementedError

    def scan_spec_conf(self, conf: Manifest) -> CheckResult:
        """What checkov calls for each object of the kinds."""
        return CheckResult.FAILED if self.problem(_plain(conf)) else CheckResult.PASSED


class EmptyDirSizeLimit(_Check):
    """Without a limit, one pod fills its node's disk or memory."""

    number = 1
    title = "emptyDir volumes have a sizeLimit"

    def problem(self, manifest: Manifest) -> bool:
        """Whether a scratch volume may grow without end."""
        scratch = [volume["emptyDir"] for volume in _volumes(manifest) if "emptyDir" in volume]
        return any(not (volume or {}).get("sizeLimit") for volume in scratch)


class EphemeralStorageLimit(_Check):
    """Logs and writable layers count against it; without one they count against the node."""

    number = 2
    title = "Containers limit their ephemeral storage"

    def problem(self, manifest: Manifest) -> bool:
        """Whether a container has no such limit."""
        return any(
            "ephemeral-storage" not in ((container.get("resources") or {}).get("limits") or {})
            for container in _containers(manifest)
        )


class HostOnlyInDaemonSet(_Check):
    """Node agents are DaemonSets in namespaces of their own; nothing else has business with the host's files."""

    number = 3
    title = "Only DaemonSets mount host paths or propagate mounts to the host"

    def problem(self, manifest: Manifest) -> bool:
        """Whether another workload reaches the host's file system."""
        if manifest["kind"] == "DaemonSet":
            return False
        mounts = [
            mount for container in _containers(manifest) for mount in container.get("volumeMounts") or []
        ]
        return any("hostPath" in volume for volume in _volumes(manifest)) or any(
            mount.get("mountPropagation") == "Bidirectional" for mount in mounts
        )


class NamespaceEnforcesPodSecurity(_Check):
    """A level without a version changes its meaning when the cluster is upgraded."""

    number = 4
    title = "Namespaces enforce a PodSecurity level at a fixed version"
    kinds = ("Namespace",)

    def problem(self, manifest: Manifest) -> bool:
        """Whether level or version is left to the cluster."""
        labels = manifest["metadata"].get("labels") or {}
        prefix = "pod-security.kubernetes.io/enforce"
        return prefix not in labels or not str(labels.get(f"{prefix}-version", "")).startswith("v1.")


class NetworkPolicyNamesPeers(_Check):
    """An empty peer, or a rule without peers, is everybody; so is 0.0.0.0/0."""

    number = 5
    title = "NetworkPolicies name their peers"
    kinds = ("NetworkPolicy",)
    category = CheckCategories.NETWORKING

    def problem(self, manifest: Manifest) -> bool:
        """Whether a rule admits everybody."""
        spec = manifest["spec"]
        rules = [(rule or {}).get("from") for rule in spec.get("ingress") or []]
        rules += [(rule or {}).get("to") for rule in spec.get("egress") or []]
        return any(not peers or any(_is_everybody(peer) for peer in peers) for peers in rules)


class SecretFilesArePrivate(_Check):
    """0444 lets every process of the container read a key, whatever its user."""

    number = 6
    title = "Files of Secrets are not readable by others"
    category = CheckCategories.SECRETS

    def problem(self, manifest: Manifest) -> bool:
        """Whether a Secret's files have a mode that gives rights to others."""
        modes = [
            volume["secret"].get("defaultMode", 0o644)
            for volume in _volumes(manifest)
            if volume.get("secret")
        ]
        for volume in _volumes(manifest):
            projected = volume.get("projected") or {}
            if any("secret" in source for source in projected.get("sources") or []):
                modes.append(projected.get("defaultMode", 0o644))
        return any(int(mode) & 0o007 for mode in modes)


def _plain(value: Any) -> Any:
    """The manifest without checkov's notes of line numbers, for which nothing is empty."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if not str(key).startswith("__")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _is_everybody(peer: Manifest | None) -> bool:
    if not peer:
        return True
    if "ipBlock" in peer:
        return str(peer["ipBlock"].get("cidr")) in {"0.0.0.0/0", "::/0"}
    return not any(peer.values())


def _pod(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest.get("spec") or {}
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec if manifest["kind"] == "Pod" else (spec.get("template") or {}).get("spec") or {}


def _volumes(manifest: Manifest) -> list[Manifest]:
    return _pod(manifest).get("volumes") or []


def _containers(manifest: Manifest) -> list[Manifest]:
    pod = _pod(manifest)
    return [container for name in ("initContainers", "containers") for container in pod.get(name) or []]


CHECKS = tuple(check() for check in _Check.__subclasses__())
"""Making a check is what registers it with checkov."""
