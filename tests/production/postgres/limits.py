"""How long writes may stop at each fault, and why so long: what the values of the small profile add up to."""

from __future__ import annotations

from dataclasses import dataclass

GOAL = 10
"""Seconds that a lost primary should cost. The limits below are higher where settings alone take longer."""


@dataclass(frozen=True)
class Limit:
    """The most seconds without an acknowledged append, the reason, and whether another primary must have taken over."""

    seconds: float
    why: str
    moves: bool = False


# `failover` of the chart's values: probes every 2 s and 3 s, a lease of 6 s, 15 s to stop. Promotion and the election
# take seconds on nodes that share two cores, for which 10 s are given throughout.
LIMITS = {
    "pod of the primary deleted": Limit(
        31,
        "15 s in which it may stop, holding its lease; 6 s until the lease of one that was killed ends; promotion",
        moves=True,
    ),
    "postmaster of the primary killed": Limit(
        30,
        "the kubelet restarts the container after up to 10 s, and PostgreSQL replays its WAL; or a promotion",
    ),
    "network of the primary cut": Limit(
        60,
        "three probes of 3 s that time out after 5 s each tell that it is cut off; 15 s in which it may stop, "
        "6 s of lease, promotion",
        moves=True,
    ),
    "node of the primary stopped": Limit(
        120,
        "50 s until Kubernetes calls a silent node gone, 10 s until operators leave it and 15 s until one of them "
        "leads, 6 s of lease, promotion, and images and leases of two operators on busy nodes",
        moves=True,
    ),
    "volumes of the primary full for 30 s": Limit(
        90,
        "the 30 s of the fault, or until another instance takes over; then a restart with up to 10 s of back-off, "
        "and the replay of WAL",
    ),
    "object store away for 60 s": Limit(GOAL, "appends do not need the object store"),
}
