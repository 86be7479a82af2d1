"""Whether nodes can be drained and pods spread: budgets, autoscalers, replicas, topology."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, MISSING, selector_matches
from .findings import Finding, Verdict, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Object, PodTemplate, Render

_SCALED: Final = frozenset({"Deployment", "StatefulSet", "ReplicaSet"})


def _lowest_replicas(render: Render, pod: PodTemplate) -> int:
    """How many pods there are at the quietest time: an autoscaler's minimum, else the replicas."""
    for scaler in render.select("HorizontalPodAutoscaler", namespace=pod.namespace, may_be_empty=True):
        if _target(scaler) == (pod.object.kind, pod.object.name):
            minimum = scaler.at("spec.minReplicas")
            return minimum if isinstance(minimum, int) else 1
    return pod.replicas


def _target(scaler: Object) -> tuple[Any, Any]:
    return scaler.at("spec.scaleTargetRef.kind"), scaler.at("spec.scaleTargetRef.name")


def _share(value: Any, total: int) -> int:
    """A number or a percentage of pods; percentages are rounded up, as Kubernetes does."""
    text = str(value)
    return math.ceil(total * int(text.rstrip("%")) / 100) if text.endswith("%") else int(text)


def _allowed_disruptions(budget: Object, total: int) -> int:
    if budget.at("spec.maxUnavailable") is not MISSING:
        return _share(budget.at("spec.maxUnavailable"), total)
    least = budget.at("spec.minAvailable")
    return total - _share(1 if least is MISSING else least, total)


def _chosen(render: Render, budget: Object) -> list[PodTemplate]:
    selector = budget.at("spec.selector")
    return [
        pod
        for pod in render.pods
        if pod.namespace == budget.namespace
        and pod.object.kind in _SCALED
        and selector_matches(None if selector is MISSING else selector, pod.labels)
    ]


def _budget_problems(render: Render, budget: Object, operators: tuple[str, ...]) -> Iterator[Finding]:
    pods = _chosen(render, budget)
    selector = budget.at("spec.selector.matchLabels") or EMPTY
    if not pods:
        if not set(selector) & set(operators):
            fix = "make it match the labels of a pod template in the same namespace"
            yield Finding("disruption/selector", budget.ref, "spec.selector", budget.at("spec.selector"), fix)
        return
    total = sum(_lowest_replicas(render, pod) for pod in pods)
    if total and _allowed_disruptions(budget, total) < 1:
        field = "maxUnavailable" if budget.at("spec.maxUnavailable") is not MISSING else "minAvailable"
        fix = f"allow one of the {total} pods to go: as it is, no node that runs one can ever be drained"
        yield Finding("disruption/blocks", budget.ref, f"spec.{field}", budget.at(f"spec.{field}"), fix)
    if all(budget.at(f"spec.{name}") is not MISSING for name in ("minAvailable", "maxUnavailable")):
        fix = "keep one of minAvailable and maxUnavailable"
        yield Finding("disruption/fields", budget.ref, "spec", "both fields", fix)


def _overlaps(render: Render, pod: PodTemplate) -> Iterator[Finding]:
    budgets = [
        budget.name
        for budget in render.select("PodDisruptionBudget", namespace=pod.namespace, may_be_empty=True)
        if pod in _chosen(render, budget)
    ]
    if len(budgets) > 1:
        fix = "keep one budget a pod: with two every eviction fails"
        yield Finding("disruption/overlap", pod.object.ref, f"{pod.path}.metadata.labels", budgets, fix)
    if not budgets and _lowest_replicas(render, pod) > 1:
        fix = "add a PodDisruptionBudget: a drain may stop all replicas at once"
        yield Finding("disruption/budget", pod.object.ref, "spec.replicas", pod.replicas, fix)


def disruption_budgets(render: Render, operators: tuple[str, ...] = ()) -> Verdict:
    """Whether each replicated workload has one budget that holds and still lets a node be drained.

    `operators` are label keys of pods that an operator makes; budgets that select by them are left out.
    """
    pods = [pod for pod in render.workloads() if pod.object.kind in _SCALED]
    budgets = render.select("PodDisruptionBudget", may_be_empty=True)
    found = [finding for budget in budgets for finding in _budget_problems(render, budget, operators)]
    found += [finding for pod in pods for finding in _overlaps(render, pod)]
    return verdict("disruption", (*pods, *budgets), found)


def _scaler_problems(render: Render, scaler: Object) -> Iterator[Finding]:
    kind, name = _target(scaler)
    targets = render.select(str(kind), name=str(name), namespace=scaler.namespace, may_be_empty=True)
    if not targets:
        fix = "name a workload of this render"
        yield Finding("autoscaler/target", scaler.ref, "spec.scaleTargetRef", f"{kind}/{name}", fix)
        return
    low, high = scaler.at("spec.minReplicas") or 1, scaler.at("spec.maxReplicas")
    if not isinstance(high, int) or high < low:
        fix = f"set it to at least minReplicas, {low}"
        yield Finding("autoscaler/range", scaler.ref, "spec.maxReplicas", high, fix)
    for target in targets:
        if target.at("spec.replicas") is not MISSING:
            fix = f"leave it out: each upgrade would fight {scaler.ref} for it"
            yield Finding("autoscaler/replicas", target.ref, "spec.replicas", target.at("spec.replicas"), fix)
        yield from _metric_problems(scaler, target)


def _metric_problems(scaler: Object, target: Object) -> Iterator[Finding]:
    for index, metric in enumerate(scaler.at("spec.metrics") or ()):
        if metric.get("type") != "Resource" or "averageUtilization" not in metric["resource"].get(
            "target", EMPTY
        ):
            continue
        resource = metric["resource"]["name"]
        for container in target.pod.containers if target.pod else ():
            if container.at(f"resources.requests.{resource}") is MISSING:
                fix = f"request {resource} in {container.name} of {target.ref}: utilization is a share of it"
                place = f"spec.metrics[{index}].resource"
                yield Finding("autoscaler/request", scaler.ref, place, resource, fix)


def autoscalers(render: Render) -> Verdict:
    """Whether each HorizontalPodAutoscaler has a target in the render that leaves `replicas` to it.

    Raises `EmptySelectionError` when there is no autoscaler.
    """
    scalers = render.select("HorizontalPodAutoscaler", may_be_empty=True)
    return verdict(
        "autoscaler", scalers, (item for scaler in scalers for item in _scaler_problems(render, scaler))
    )


def _spread_problems(pod: PodTemplate) -> Iterator[Finding]:
    ref, terms = pod.object.ref, []
    for index, entry in enumerate(pod.spec.get("topologySpreadConstraints") or ()):
        terms.append(
            (f"{pod.spec_path}.topologySpreadConstraints[{index}].labelSelector", entry.get("labelSelector"))
        )
    anti = (pod.spec.get("affinity") or EMPTY).get("podAntiAffinity") or EMPTY
    base = f"{pod.spec_path}.affinity.podAntiAffinity"
    for index, entry in enumerate(anti.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
        place = f"{base}.requiredDuringSchedulingIgnoredDuringExecution[{index}].labelSelector"
        terms.append((place, entry.get("labelSelector")))
    for index, entry in enumerate(anti.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
        place = (
            f"{base}.preferredDuringSchedulingIgnoredDuringExecution[{index}].podAffinityTerm.labelSelector"
        )
        terms.append((place, entry["podAffinityTerm"].get("labelSelector")))
    if not terms:
        fix = "add topologySpreadConstraints or podAntiAffinity: all replicas may land on one node"
        yield Finding("topology/spread", ref, pod.spec_path, MISSING, fix)
    elif not any(selector_matches(selector, pod.labels) for _, selector in terms):
        fix = "make one term select the workload's own pods: as written it spreads nothing"
        yield Finding("topology/selector", ref, terms[0][0], terms[0][1], fix)


def topology(render: Render) -> Verdict:
    """Whether each workload with more than one pod is spread, by terms that select its own pods.

    Raises `EmptySelectionError` when no workload has more than one pod.
    """
    pods = [
        pod for pod in render.workloads() if pod.object.kind in _SCALED and _lowest_replicas(render, pod) > 1
    ]
    return verdict("topology", pods, (finding for pod in pods for finding in _spread_problems(pod)))
