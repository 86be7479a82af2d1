"""What a running cluster has left for a release: its nodes without what other pods take of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ci.settings import RELEASE
from lighthouse_harness.capacity import Taint
from lighthouse_harness.packing import Node
from lighthouse_harness.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INSTANCE = "app.kubernetes.io/instance"


def live_nodes(
    nodes: Iterable[Mapping[str, Any]], pods: Iterable[Mapping[str, Any]], *, by_limits: bool
) -> tuple[Node, ...]:
    """The nodes that take pods, from lists of the Kubernetes API.

    Pods of the release itself are what is planned for, so they leave their place to it.
    """
    taken: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    count: Counter[str] = Counter()
    for pod in pods:
        place = pod["spec"].get("nodeName", "")
        ended = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
        if not place or ended or pod["metadata"].get("labels", {}).get(INSTANCE) == RELEASE:
            continue
        count[place] += 1
        for resource in ("cpu", "memory"):
            taken[place, resource] += _needs(pod["spec"], resource, by_limits=by_limits)
    return tuple(
        Node(
            name,
            quantity(item["status"]["allocatable"]["cpu"]) - taken[name, "cpu"],
            quantity(item["status"]["allocatable"]["memory"]) - taken[name, "memory"],
            int(item["status"]["allocatable"]["pods"]) - count[name],
            item["metadata"].get("labels", {}),
            tuple(
                Taint(one["key"], one.get("value", ""), one["effect"])
                for one in item["spec"].get("taints", ())
            ),
        )
        for item in nodes
        if not item["spec"].get("unschedulable")
        for name in (item["metadata"]["name"],)
    )


def _needs(spec: Mapping[str, Any], resource: str, *, by_limits: bool) -> Fraction:
    """What a pod takes: sidecars and main containers, or a step of its start if that is more, and its overhead."""

    def amount(container: Mapping[str, Any]) -> Fraction:
        resources = container.get("resources") or {}
        request = (resources.get("requests") or {}).get(resource, 0)
        limit = (resources.get("limits") or {}).get(resource, request)
        return quantity(limit if by_limits else request)

    beside, highest = Fraction(0), Fraction(0)
    for one in spec.get("initContainers") or ():
        if one.get("restartPolicy") == "Always":
            beside += amount(one)
            highest = max(highest, beside)
        else:
            highest = max(highest, beside + amount(one))
    main = sum((amount(one) for one in spec["containers"]), Fraction(0))
    return max(highest, main + beside) + quantity((spec.get("overhead") or {}).get(resource, 0))
