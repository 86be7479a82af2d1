"""Requests and limits: every container has both, they fit together, and the pod's class and sum are known."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, MISSING, resolve
from .findings import Finding, Verdict, verdict
from .model import Container, ContainerRole, PodTemplate, Render
from .quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

RESOURCES: Final = ("cpu", "memory", "ephemeral-storage")


class QosClass(StrEnum):
    """What Kubernetes makes of a pod's requests and limits; the order of eviction."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


def _amounts(holder: Any, kind: str) -> dict[str, Fraction]:
    """The quantities that can be read; the others are findings of `resources`."""
    found = resolve(holder, f"resources.{kind}") or EMPTY
    amounts = {}
    for name, value in found.items():
        with suppress(ValueError):
            amounts[name] = quantity(value)
    return amounts


def qos_class(pod: PodTemplate) -> QosClass:
    """The class of the pod, from its own `resources` if it has any, else from its containers."""
    holders = [pod.spec] if pod.spec.get("resources") else [item.document for item in pod.containers]
    pairs = [(_amounts(holder, "requests"), _amounts(holder, "limits")) for holder in holders]
    named = [
        {name for name, value in (requests | limits).items() if value and name in {"cpu", "memory"}}
        for requests, limits in pairs
    ]
    if not any(named):
        return QosClass.BEST_EFFORT
    for requests, limits in pairs:
        if any(
            not limits.get(name) or requests.get(name, limits[name]) != limits[name]
            for name in ("cpu", "memory")
        ):
            return QosClass.BURSTABLE
    return QosClass.GUARANTEED


def pod_sum(pod: PodTemplate, kind: str = "requests", resource: str = "cpu") -> Fraction:
    """What the scheduler reckons for one pod: sidecars and main containers, or an init step if higher.

    A missing request is the limit, as the API server fills in. Overhead is not counted.
    """

    def amount(item: Container) -> Fraction:
        limits = _amounts(item.document, "limits")
        found = _amounts(item.document, kind)
        return found.get(resource, limits.get(resource, Fraction(0)))

    beside, highest = Fraction(0), Fraction(0)
    for item in pod.containers:
        if item.role is ContainerRole.SIDECAR:
            beside += amount(item)
            highest = max(highest, beside)
        elif item.role is ContainerRole.INIT:
            highest = max(highest, beside + amount(item))
    main = sum((amount(item) for item in pod.containers if item.role is ContainerRole.MAIN), Fraction(0))
    return max(highest, main + beside)


def _container_problems(item: Container, resources: Iterable[str]) -> Iterator[Finding]:
    ref = item.pod.object.ref
    if item.role is ContainerRole.EPHEMERAL:
        return
    for name in resources:
        amounts = {}
        for kind in ("requests", "limits"):
            raw = (item.at(f"resources.{kind}") or EMPTY).get(name, MISSING)
            place = f"{item.path}.resources.{kind}.{name}"
            if raw is MISSING or raw is None:
                yield Finding(
                    f"resources/{kind}", ref, place, raw, f"set it, for example to {_example(name)}"
                )
                continue
            try:
                amounts[kind] = quantity(raw)
            except ValueError as error:
                yield Finding(f"resources/{kind}", ref, place, raw, f"write a quantity: {error}")
        if len(amounts) == 2 and amounts["requests"] > amounts["limits"]:
            place, observed = f"{item.path}.resources.requests.{name}", item.at("resources.requests")[name]
            limit = item.at("resources.limits")[name]
            yield Finding("resources/order", ref, place, observed, f"set it to at most the limit, {limit}")


def _example(name: str) -> str:
    return {"cpu": "100m", "memory": "128Mi"}.get(name, "64Mi")


def resources(render: Render, names: Iterable[str] = RESOURCES) -> Verdict:
    """Whether every container, init and sidecar too, has requests and limits that fit together."""
    wanted = tuple(names)
    containers = render.containers()
    return verdict(
        "resources",
        containers,
        (finding for item in containers for finding in _container_problems(item, wanted)),
    )


def bounded_volumes(render: Render) -> Verdict:
    """Whether every `emptyDir` has a `sizeLimit`: without one a pod can fill its node's disk."""
    found, pods = [], render.workloads()
    for pod in pods:
        for index, volume in enumerate(pod.spec.get("volumes") or ()):
            if "emptyDir" in volume and not (volume["emptyDir"] or EMPTY).get("sizeLimit"):
                place = f"{pod.spec_path}.volumes[{index}].emptyDir.sizeLimit"
                found.append(
                    Finding("resources/emptyDir", pod.object.ref, place, MISSING, "set it, such as 64Mi")
                )
    return verdict("resources/emptyDir", pods, found)


def quality(render: Render, lowest: QosClass = QosClass.BURSTABLE) -> Verdict:
    """Whether no pod is of a lower class than `lowest`."""
    order = list(QosClass)
    pods = render.workloads()
    found = (
        Finding(
            "resources/qos",
            pod.object.ref,
            f"{pod.spec_path}.containers",
            str(qos_class(pod)),
            f"make it {lowest}",
        )
        for pod in pods
        if order.index(qos_class(pod)) > order.index(lowest)
    )
    return verdict("resources/qos", pods, found)
