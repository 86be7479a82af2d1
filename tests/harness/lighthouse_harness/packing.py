"""Whether pods fit on nodes: a placement, or the reason why there is none.

The search is exact: it tries placements until one holds or none is left. It stops after `STEPS` tries, which a
few dozen pods stay well below, and then refuses, since nothing was proved.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from .capacity import GIB, HOSTNAME
from .documents import EMPTY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .capacity import Demand, Taint

STEPS: Final = 200_000
PODS: Final = 110


@dataclass(frozen=True)
class Node:
    """What pods may use of a node; memory in bytes."""

    name: str
    cpu: Fraction
    memory: Fraction
    pods: int = PODS
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    taints: tuple[Taint, ...] = ()

    def domain(self, topology: str) -> str:
        """The name of the topology domain that the node is in; empty when it is in none."""
        return self.name if topology == HOSTNAME else str(self.labels.get(topology, ""))


@dataclass(frozen=True)
class Fit:
    """`placement` names the pods of each node; `reasons` says why there is none. `note` says what the answer
    leaves out."""

    placement: Mapping[str, tuple[str, ...]]
    reasons: tuple[str, ...] = ()
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether a placement was found."""
        return not self.reasons


def fit(demands: Iterable[Demand], nodes: Iterable[Node], *, by_limits: bool = False) -> Fit:
    """Place every pod by its requests, or by its limits when none may ever wait for another."""
    cluster = tuple(nodes)
    wanted = tuple(_by_limits(demand) if by_limits else demand for demand in demands)
    left = {node.name: _after_daemons(node, wanted) for node in cluster}
    pods = [demand for demand in wanted if not demand.each_node for _ in range(demand.replicas)]
    reasons = (*_short(wanted, cluster), *_too_large(wanted, tuple(left.values())))
    if reasons:
        return Fit(EMPTY, reasons)
    # The largest first: what is hard to place should not find the nodes full of what is easy.
    pods.sort(key=lambda demand: (-_share(demand, cluster), demand.namespace, demand.name))
    search = _Search(tuple(left.values()), pods)
    if search.place(0):
        placed: dict[str, list[str]] = {node.name: [] for node in cluster}
        for demand, index in zip(pods, search.chosen, strict=True):
            placed[cluster[index].name].append(demand.name)
        return Fit({name: tuple(sorted(names)) for name, names in placed.items()})
    if search.steps >= STEPS:
        return Fit(EMPTY, (f"no placement was found in {STEPS} tries; add a node or make pods smaller",))
    rules = "anti-affinity, spread and node labels kept"
    return Fit(
        EMPTY, (f"no placement of the {len(pods)} pods on the {len(cluster)} nodes exists with {rules}",)
    )


def fit_without_one(demands: Iterable[Demand], nodes: Iterable[Node], *, by_limits: bool = False) -> Fit:
    """Whether all pods that can run do so when any one node is lost.

    Of pods that must be apart there cannot be more than nodes: those of them wait for the node's return.
    """
    cluster = tuple(nodes)
    wanted = tuple(demands)
    if len(cluster) < 2:
        return Fit(EMPTY, ("there is one node only: when it is lost, nothing runs",))
    waiting: Counter[str] = Counter()
    for lost in cluster:
        rest = tuple(node for node in cluster if node is not lost)
        reduced = tuple(_reduced(demand, rest) for demand in wanted)
        for before, after in zip(wanted, reduced, strict=True):
            waiting[before.name] = max(waiting[before.name], before.replicas - after.replicas)
        found = fit(reduced, rest, by_limits=by_limits)
        if not found.fits:
            return Fit(EMPTY, tuple(f"without node {lost.name}: {reason}" for reason in found.reasons))
    names = ", ".join(f"{count} of {name}" for name, count in sorted(waiting.items()) if count)
    return Fit(
        EMPTY, note=f"until the node is back, these wait, since they must be apart: {names}" if names else ""
    )


def _by_limits(demand: Demand) -> Demand:
    return replace(demand, cpu=demand.cpu_limit, memory=demand.memory_limit)


def _reduced(demand: Demand, nodes: tuple[Node, ...]) -> Demand:
    own = [rule for rule in demand.apart if rule.selector.matches(demand.labels)]
    places = [node for node in nodes if _may_run(demand, node)]
    domains = [len({node.domain(rule.topology) for node in places} - {""}) for rule in own]
    return replace(demand, replicas=min([demand.replicas, *domains]))


def _after_daemons(node: Node, demands: tuple[Demand, ...]) -> Node:
    daemons = [demand for demand in demands if demand.each_node and _may_run(demand, node)]
    return replace(
        node,
        cpu=node.cpu - sum((demand.cpu for demand in daemons), Fraction(0)),
        memory=node.memory - sum((demand.memory for demand in daemons), Fraction(0)),
        pods=node.pods - len(daemons),
    )


def _may_run(demand: Demand, node: Node) -> bool:
    labelled = all(node.labels.get(key) == value for key, value in demand.node_labels.items())
    return labelled and not any(taint.keeps_out(demand.tolerations) for taint in node.taints)


def _short(demands: tuple[Demand, ...], nodes: tuple[Node, ...]) -> list[str]:
    """The sums that the nodes do not reach."""
    needed = sum((demand.cpu * demand.pods(len(nodes)) for demand in demands), Fraction(0))
    offered = sum((node.cpu for node in nodes), Fraction(0))
    reasons = []
    if needed > offered:
        reasons.append(
            f"{amount(needed)} CPU are needed and {amount(offered)} there: {amount(needed - offered)} short"
        )
    needed = sum((demand.memory * demand.pods(len(nodes)) for demand in demands), Fraction(0)) / GIB
    offered = sum((node.memory for node in nodes), Fraction(0)) / GIB
    if needed > offered:
        short = amount(needed - offered)
        reasons.append(
            f"{amount(needed)} GiB of memory are needed and {amount(offered)} there: {short} short"
        )
    return reasons


def _too_large(demands: tuple[Demand, ...], nodes: tuple[Node, ...]) -> list[str]:
    """The pods that no node could hold even if it were empty."""
    reasons = []
    for demand in demands:
        places = [node for node in nodes if _may_run(demand, node)]
        if demand.each_node or not demand.replicas:
            continue
        if not any(node.cpu >= demand.cpu and node.memory >= demand.memory for node in places):
            need = f"{amount(demand.cpu)} CPU and {amount(demand.memory / GIB)} GiB"
            reasons.append(
                f"a pod of {demand.name} needs {need}, and no node that it may run on has both free"
            )
    return reasons


def _share(demand: Demand, nodes: tuple[Node, ...]) -> Fraction:
    """The part of an average node that a pod takes of what it takes most of."""
    count = len(nodes)
    cpu = sum((node.cpu for node in nodes), Fraction(0)) / count
    memory = sum((node.memory for node in nodes), Fraction(0)) / count
    return max(demand.cpu / cpu if cpu else Fraction(0), demand.memory / memory if memory else Fraction(0))


def amount(value: Fraction) -> str:
    """A number with at most two decimals."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


class _Search:
    """Depth first over pods, each tried on every node that differs from those tried before."""

    def __init__(self, nodes: tuple[Node, ...], pods: list[Demand]) -> None:
        self._nodes = nodes
        self._pods = pods
        self._cpu = [node.cpu for node in nodes]
        self._memory = [node.memory for node in nodes]
        self._free = [node.pods for node in nodes]
        self.chosen: list[int] = []
        self.steps = 0

    def place(self, position: int) -> bool:
        if position == len(self._pods):
            return True
        pod = self._pods[position]
        # Pods of one kind are alike: the next is never tried before the node of the last.
        first = self.chosen[-1] if position and self._pods[position - 1] is pod and not pod.spread else 0
        tried: set[tuple[object, ...]] = set()
        for index in range(first, len(self._nodes)):
            self.steps += 1
            if self.steps >= STEPS:
                return False
            look = self._look(index)
            if look in tried or not self._allows(pod, index):
                continue
            tried.add(look)
            self._take(pod, index, 1)
            if self.place(position + 1):
                return True
            self._take(pod, index, -1)
        return False

    def _look(self, index: int) -> tuple[object, ...]:
        """What makes one node as good as another for the pods that are left."""
        node = self._nodes[index]
        here = tuple(sorted(id(self._pods[at]) for at, where in enumerate(self.chosen) if where == index))
        domains = tuple(sorted(node.labels.items()))
        return self._cpu[index], self._memory[index], self._free[index], here, domains, node.taints

    def _take(self, pod: Demand, index: int, sign: int) -> None:
        self._cpu[index] -= sign * pod.cpu
        self._memory[index] -= sign * pod.memory
        self._free[index] -= sign
        if sign > 0:
            self.chosen.append(index)
        else:
            self.chosen.pop()

    def _allows(self, pod: Demand, index: int) -> bool:
        node = self._nodes[index]
        if self._cpu[index] < pod.cpu or self._memory[index] < pod.memory or not self._free[index]:
            return False
        return _may_run(pod, node) and not self._clashes(pod, node) and self._is_even(pod, node)

    def _clashes(self, pod: Demand, node: Node) -> bool:
        for other, where in zip(self._pods, self.chosen, strict=False):
            for mine, theirs in ((pod, other), (other, pod)):
                for rule in mine.apart:
                    same = node.domain(rule.topology) == self._nodes[where].domain(rule.topology) != ""
                    if same and theirs.namespace in rule.namespaces and rule.selector.matches(theirs.labels):
                        return True
        return False

    def _is_even(self, pod: Demand, node: Node) -> bool:
        for rule in pod.spread:
            counts = Counter(
                {other.domain(rule.topology): 0 for other in self._nodes if _may_run(pod, other)}
            )
            for other, where in zip(self._pods, self.chosen, strict=False):
                if other.namespace == pod.namespace and rule.selector.matches(other.labels):
                    counts[self._nodes[where].domain(rule.topology)] += 1
            here = node.domain(rule.topology)
            own = int(rule.selector.matches(pod.labels))
            if not here or counts[here] + own - min(counts.values()) > rule.skew:
                return False
        return True
