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


# `failover` of the chart's values: probes every 2 s and 3 s, a lease of 6 s, 15 s to stop. A promotion asks the archive
# several times, before it and for the histories of timelines, and so does each replica before it follows; every time
# starts the archive's client, which takes 1 to 2 s on nodes that share two cores: 25 s from lease to the first append.
LIMITS = {
    "pod of the primary deleted": Limit(
        50,
        "15 s in which it may stop, holding its lease; up to 8 s until the lease of one that was killed ends; 25 s of "
        "promotion",
        moves=True,
    ),
    "postmaster of the primary killed": Limit(
        30,
        "the kubelet restarts the container after up to 10 s, and PostgreSQL replays its WAL; or a promotion",
    ),
    "network of the primary cut": Limit(
        80,
        "up to 12 s until the operator asks for its status and 30 s until it stops waiting for the answer, which "
        "CloudNativePG fixes; 8 s of lease, 25 s of promotion",
        moves=True,
    ),
    "node of the primary stopped": Limit(
        135,
        "50 s until Kubernetes calls a silent node gone, 10 s until operators leave it and 15 s until one of them "
        "leads, 8 s of lease, 25 s of promotion, and images and leases of two operators on busy nodes",
        moves=True,
    ),
    "volumes of the primary full for 30 s": Limit(
        90,
        "the 30 s of the fault, or until another instance takes over; then a restart with up to 10 s of back-off, "
        "and the replay of WAL",
    ),
    "object store away for 60 s": Limit(GOAL, "appends do not need the object store"),
}
