"""What a release needs: processors, memory and disks, by component, as the scheduler and the provisioner see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from .documents import EMPTY, resolve
from .network_selectors import Selector, parse_selector
from .quantities import quantity
from .resources import pod_sum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .model import Object, PodTemplate, Render

GIB: Final = 1024**3
HOSTNAME: Final = "kubernetes.io/hostname"
_TRANSIENT: Final = frozenset({"Job", "CronJob"})


@dataclass(frozen=True, slots=True)
class Apart:
    """That a pod may not share a topology domain with pods of `namespaces` which `selector` selects."""

    topology: str
    namespaces: frozenset[str]
    selector: Selector


@dataclass(frozen=True, slots=True)
class Spread:
    """That pods which `selector` selects differ in number between domains by `skew` at most."""

    topology: str
    skew: int
    selector: Selector


@dataclass(frozen=True, slots=True)
class Taint:
    """What keeps pods from a node unless they tolerate it."""

    key: str
    value: str
    effect: str

    def keeps_out(self, tolerations: Iterable[Mapping[str, Any]]) -> bool:
        """Whether a pod with these tolerations may not start on the node; a preference keeps nobody out."""
        return self.effect != "PreferNoSchedule" and not any(map(self._tolerated, tolerations))

    def _tolerated(self, toleration: Mapping[str, Any]) -> bool:
        exists = toleration.get("operator", "Equal") == "Exists"
        key, value = toleration.get("key") or "", toleration.get("value") or ""
        same = (key == self.key and (exists or value == self.value)) or (exists and not key)
        return same and toleration.get("effect") in {None, "", self.effect}


@dataclass(frozen=True)
class Demand:
    """A kind of pod: how many there are and what each needs. Memory and disks are bytes.

    `each_node` pods run on every node; `replicas` is then 0. `disks` are the volumes that one pod claims.
    """

    name: str
    component: str
    namespace: str
    replicas: int
    cpu: Fraction
    memory: Fraction
    cpu_limit: Fraction
    memory_limit: Fraction
    disks: tuple[Fraction, ...] = ()
    each_node: bool = False
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    node_labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    apart: tuple[Apart, ...] = ()
    spread: tuple[Spread, ...] = ()
    tolerations: tuple[Mapping[str, Any], ...] = ()

    def pods(self, nodes: int) -> int:
        """How many such pods a cluster with `nodes` nodes runs."""
        return nodes if self.each_node else self.replicas


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over pods; memory and disk in bytes."""

    cpu: Fraction
    memory: Fraction
    cpu_limit: Fraction
    memory_limit: Fraction
    disk: Fraction


def total(demands: tuple[Demand, ...], nodes: int) -> Total:
    """What all pods together need on a cluster of `nodes` nodes."""

    def add(value: Any) -> Fraction:
        return sum((value(demand) * demand.pods(nodes) for demand in demands), Fraction(0))

    return Total(
        add(lambda demand: demand.cpu),
        add(lambda demand: demand.memory),
        add(lambda demand: demand.cpu_limit),
        add(lambda demand: demand.memory_limit),
        add(lambda demand: sum(demand.disks, Fraction(0))),
    )


def demands(render: Render) -> tuple[Demand, ...]:
    """What a render's lasting pods need; those of operators, such as a database's, too.

    Raises `EmptySelectionError` when the render has no pods. Jobs come and go, so they are left out.
    """
    pods = [pod for pod in render.workloads() if pod.object.kind not in _TRANSIENT and not pod.object.hook]
    found = [_demand(render, pod) for pod in pods]
    return (
        *found,
        *(_postgres(render, item) for item in _operated(render, "Cluster")),
        *(_pooler(item) for item in _operated(render, "Pooler")),
    )


def _demand(render: Render, pod: PodTemplate) -> Demand:
    each_node = pod.object.kind == "DaemonSet"
    return Demand(
        name=pod.object.name,
        component=str(pod.labels.get("app.kubernetes.io/component", pod.object.name)),
        namespace=pod.namespace,
        replicas=0 if each_node else _replicas(render, pod),
        cpu=pod_sum(pod, "requests", "cpu"),
        memory=pod_sum(pod, "requests", "memory"),
        cpu_limit=pod_sum(pod, "limits", "cpu"),
        memory_limit=pod_sum(pod, "limits", "memory"),
        disks=tuple(_disks(render, pod)),
        each_node=each_node,
        labels=pod.labels,
        node_labels=pod.spec.get("nodeSelector") or EMPTY,
        apart=tuple(_apart(pod)),
        spread=tuple(_spread(pod)),
        tolerations=tuple(pod.spec.get("tolerations") or ()),
    )


def _replicas(render: Render, pod: PodTemplate) -> int:
    """The most pods there can be: an autoscaler's maximum, else what the manifest says."""
    for scaler in render.select("HorizontalPodAutoscaler", namespace=pod.namespace, may_be_empty=True):
        target = scaler.at("spec.scaleTargetRef.kind"), scaler.at("spec.scaleTargetRef.name")
        if target == (pod.object.kind, pod.object.name):
            return int(scaler.at("spec.maxReplicas"))
    return pod.replicas


def _disks(render: Render, pod: PodTemplate) -> Iterator[Fraction]:
    claims = [template["spec"] for template in pod.object.at("spec.volumeClaimTemplates") or ()]
    for volume in pod.spec.get("volumes") or ():
        if "ephemeral" in volume:
            claims.append(volume["ephemeral"]["volumeClaimTemplate"]["spec"])
        name = (volume.get("persistentVolumeClaim") or EMPTY).get("claimName")
        claimed = render.select(
            "PersistentVolumeClaim", name=name, namespace=pod.namespace, may_be_empty=True
        )
        claims += [claim.at("spec") for claim in claimed if name]
    for claim in claims:
        yield quantity(resolve(claim, "resources.requests.storage"))


def _apart(pod: PodTemplate) -> Iterator[Apart]:
    path = "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    for term in resolve(pod.spec, path) or ():
        namespaces = frozenset(term.get("namespaces") or (pod.namespace,))
        yield Apart(
            term["topologyKey"], namespaces, parse_selector(term.get("labelSelector"), pod.object.ref)
        )


def _spread(pod: PodTemplate) -> Iterator[Spread]:
    for constraint in pod.spec.get("topologySpreadConstraints") or ():
        if constraint.get("whenUnsatisfiable") == "DoNotSchedule":
            selector = parse_selector(constraint.get("labelSelector"), pod.object.ref)
            yield Spread(constraint["topologyKey"], int(constraint.get("maxSkew", 1)), selector)


def _operated(render: Render, kind: str) -> Iterator[Object]:
    return (item for item in render.objects if item.kind == kind and item.group == "postgresql.cnpg.io")


def _amount(resources: Any, kind: str, name: str) -> Fraction:
    """A request or limit; a missing request is the limit."""
    limits = resources.get("limits") or EMPTY
    return quantity((resources.get(kind) or EMPTY).get(name, limits.get(name, 0)))


def _sidecars(render: Render, item: Object) -> Iterator[Any]:
    """The resources of the container that the Barman plugin puts beside each instance of a cluster."""
    for plugin in item.at("spec.plugins") or ():
        name = (plugin.get("parameters") or EMPTY).get("barmanObjectName")
        for store in render.objects:
            if name and (store.kind, store.namespace, store.name) == ("ObjectStore", item.namespace, name):
                yield store.at("spec.instanceSidecarConfiguration.resources") or EMPTY


def _postgres(render: Render, item: Object) -> Demand:
    """The pods that CloudNativePG makes of its cluster."""
    labels = {"cnpg.io/cluster": item.name}
    containers = [item.at("spec.resources") or EMPTY, *_sidecars(render, item)]
    sizes = [item.at(f"spec.{place}.size") for place in ("storage", "walStorage")]
    affinity = item.at("spec.affinity") or EMPTY
    apart: tuple[Apart, ...] = ()
    if affinity.get("podAntiAffinityType") == "required" and affinity.get("enablePodAntiAffinity", True):
        selector = parse_selector({"matchLabels": labels}, item.ref)
        apart = (Apart(affinity.get("topologyKey", HOSTNAME), frozenset({item.namespace}), selector),)

    def amount(kind: str, name: str) -> Fraction:
        return sum((_amount(one, kind, name) for one in containers), Fraction(0))

    return Demand(
        name=item.name,
        component="postgres",
        namespace=item.namespace,
        replicas=int(item.at("spec.instances")),
        cpu=amount("requests", "cpu"),
        memory=amount("requests", "memory"),
        cpu_limit=amount("limits", "cpu"),
        memory_limit=amount("limits", "memory"),
        disks=tuple(quantity(size) for size in sizes if size),
        labels=labels,
        node_labels=affinity.get("nodeSelector") or EMPTY,
        apart=apart,
        tolerations=tuple(affinity.get("tolerations") or ()),
    )


def _pooler(item: Object) -> Demand:
    """The pods that CloudNativePG makes of a pooler."""
    spec = item.at("spec.template.spec") or EMPTY
    containers = [one.get("resources") or EMPTY for one in spec.get("containers") or ()]

    def amount(kind: str, name: str) -> Fraction:
        return sum((_amount(one, kind, name) for one in containers), Fraction(0))

    return Demand(
        name=item.name,
        component="pooler",
        namespace=item.namespace,
        replicas=int(item.at("spec.instances") or 1),
        cpu=amount("requests", "cpu"),
        memory=amount("requests", "memory"),
        cpu_limit=amount("limits", "cpu"),
        memory_limit=amount("limits", "memory"),
        labels={"cnpg.io/poolerName": item.name},
        node_labels=spec.get("nodeSelector") or EMPTY,
        tolerations=tuple(spec.get("tolerations") or ()),
    )
