"""What running costs in a month: nodes that hold the pods even when one is lost, disks, backups, control plane."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from lighthouse_harness.capacity import GIB, total
from lighthouse_harness.packing import Node, fit, fit_without_one

if TYPE_CHECKING:
    from ci.capacity.data import Prices, Provider
    from lighthouse_harness.capacity import Demand

MOST_NODES = 40
ZONES = 3


@dataclass(frozen=True)
class Bill:
    """A month in US dollars, in its parts."""

    provider: str
    nodes: int
    compute: float
    disks: float
    backups: float
    control_plane: float

    @property
    def month(self) -> float:
        """All parts."""
        return self.compute + self.disks + self.backups + self.control_plane


def nodes_of(provider: Provider, prices: Prices, count: int) -> tuple[Node, ...]:
    """So many of the provider's nodes, over three zones, with what they keep for themselves taken off."""
    cpu = Fraction(str(provider.node.cpu)) - Fraction(str(prices.reserved.cpu))
    memory = (Fraction(str(provider.node.memory_gib)) - Fraction(str(prices.reserved.memory_gib))) * GIB
    return tuple(
        Node(
            f"node-{number}",
            cpu,
            memory,
            labels={"topology.kubernetes.io/zone": f"zone-{number % ZONES}"},
        )
        for number in range(count)
    )


def nodes_needed(demands: tuple[Demand, ...], provider: Provider, prices: Prices) -> int:
    """The fewest nodes that hold all pods by their limits and still do when any one of them is lost.

    Raises ValueError with the last reason when even `MOST_NODES` do not.
    """
    reasons: tuple[str, ...] = ()
    for count in range(ZONES, MOST_NODES + 1):
        nodes = nodes_of(provider, prices, count)
        found = fit(demands, nodes, by_limits=True)
        if found.fits:
            found = fit_without_one(demands, nodes, by_limits=True)
        if found.fits:
            return count
        reasons = found.reasons
    raise ValueError(f"{MOST_NODES} nodes {provider.node.name} are not enough: {'; '.join(reasons)}.")


def bill(
    demands: tuple[Demand, ...],
    provider: Provider,
    prices: Prices,
    *,
    stored_gib: float = 0,
    bridges: int = 0,
    copies: int = 3,
    kept_days: float = 7,
) -> Bill:
    """A month of a release, with as many bridges as a load needs if that is more than it has.

    `stored_gib` of events lie on `copies` disks beside what the pods claim; a backup of them is kept for each of
    `kept_days`, of which all but one hold changes only, reckoned as a tenth.
    """
    demands = tuple(
        replace(one, replicas=max(one.replicas, bridges)) if one.component == "bridge" else one
        for one in demands
    )
    count = nodes_needed(demands, provider, prices)
    claimed = float(total(demands, count).disk) / GIB
    hours = prices.hours_per_month
    grown = max(0.0, stored_gib * copies - claimed)
    return Bill(
        provider.title,
        count,
        count * provider.node.per_hour * hours,
        (claimed + grown) * provider.disk_gib_month,
        stored_gib * (1 + (kept_days - 1) / 10) * provider.object_gib_month,
        provider.control_plane_per_hour * hours,
    )
