"""What rendered Namespaces enforce, and whether the pods in them pass it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .documents import EMPTY, MISSING, join
from .findings import Finding, Verdict, verdict
from .pod_security import Level, Version, judge_pod, read_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .model import Render

ENFORCE_LABEL: Final = "pod-security.kubernetes.io/enforce"
ENFORCE_VERSION_LABEL: Final = "pod-security.kubernetes.io/enforce-version"


def enforced_level(render: Render, namespace: str) -> tuple[Level, Version] | None:
    """The level and version that a rendered Namespace enforces by its labels, if it does."""
    labels = render.namespace_labels(namespace)
    if ENFORCE_LABEL not in labels:
        return None
    return Level(labels[ENFORCE_LABEL]), read_version(labels.get(ENFORCE_VERSION_LABEL, "latest"))


def enforced_pod_security(render: Render) -> Verdict:
    """Whether each pod passes what its own namespace, as rendered, enforces."""
    judged = [(pod, enforced_level(render, pod.namespace)) for pod in render.workloads()]
    known = [(pod, *enforced) for pod, enforced in judged if enforced is not None]
    found = (finding for pod, level, version in known for finding in judge_pod(pod, level, version))
    return verdict("pod-security/enforced", known, found)


def namespace_levels(render: Render, others: Mapping[str, Level] = EMPTY) -> Verdict:
    """Whether every rendered Namespace enforces `restricted` (or the level in `others`) at a fixed version.

    Raises `EmptySelectionError` when the render has no Namespace.
    """
    found, namespaces = [], render.select("Namespace", may_be_empty=True)
    for item in namespaces:
        wanted = others.get(item.name, Level.RESTRICTED)
        if item.labels.get(ENFORCE_LABEL) != wanted:
            path = join("metadata.labels", ENFORCE_LABEL)
            observed = item.labels.get(ENFORCE_LABEL, MISSING)
            found.append(Finding("pod-security/namespace", item.ref, path, observed, f"set it to {wanted}"))
        if item.labels.get(ENFORCE_VERSION_LABEL, "latest") == "latest":
            path = join("metadata.labels", ENFORCE_VERSION_LABEL)
            fix = "fix a version: latest changes with the cluster"
            found.append(
                Finding("pod-security/namespace", item.ref, path, item.labels.get(ENFORCE_VERSION_LABEL), fix)
            )
    return verdict("pod-security/namespace", namespaces, found)
