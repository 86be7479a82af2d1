"""From agents to bridges, connections and storage, by what was measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ci.capacity.data import Measured

# A bridge is filled to this part of what it was measured to do: bursts and a lost neighbour need the rest.
FILL = 0.6
# What a bench run may differ from the model before the model is wrong.
TOLERANCE = 1.5
# Connections of one bridge to its stores: four readers, a writer and a listener; a pool.
POSTGRES_EACH = 6
REDIS_EACH = 64


@dataclass(frozen=True)
class Load:
    """What agents ask for: validations of each a minute while it works, and how many hours a day it does."""

    agents: int
    per_minute: float = 6.0
    hours_a_day: float = 10.0
    experts: int = 2
    hit_rate: float = 0.95
    review_rate: float = 0.05

    @property
    def per_second(self) -> float:
        """Validations a second at the busy time."""
        return self.agents * self.per_minute / 60


@dataclass(frozen=True)
class Plan:
    """What a load needs; storage is GiB.

    `connections` are those of agents and experts to all bridges; the others are the most that all bridges, and the one
    that an update adds, hold to PostgreSQL and to each server of Redis.
    """

    load: Load
    bridges: int
    processors: float
    connections: int
    gib_a_day: float

    @property
    def postgres_connections(self) -> int:
        """To PostgreSQL's primary."""
        return POSTGRES_EACH * (self.bridges + 1)

    @property
    def redis_connections(self) -> int:
        """To each server of Redis."""
        return REDIS_EACH * (self.bridges + 1)

    def gib(self, days: float) -> float:
        """The events of so many days."""
        return self.gib_a_day * days


def plan(load: Load, measured: Measured, *, least: int = 3) -> Plan:
    """What a load needs; `least` bridges run in any case, so that one may be lost."""
    if not 0 <= load.review_rate <= 1 - load.hit_rate:
        raise ValueError(
            f"{load.review_rate:.0%} reviewed and {load.hit_rate:.0%} from memory do not fit together; "
            "what memory knows is not reviewed."
        )
    tiers = measured.microseconds
    policy = 1 - load.hit_rate - load.review_rate
    each = load.hit_rate * tiers.memory + policy * tiers.policy + load.review_rate * tiers.review
    bridges = max(least, math.ceil(load.per_second / (measured.saturated_per_second * FILL)))
    # An agent keeps one connection; an expert one for the API and one for the stream that its mount follows.
    connections = load.agents + 2 * load.experts
    a_day = load.per_second * 3600 * load.hours_a_day
    stored = a_day * measured.events_per_validation * measured.bytes_per_event / 2**30
    return Plan(load, bridges, load.per_second * each / 1e6, connections, stored)


@dataclass(frozen=True)
class Check:
    """A figure of the model and of a bench run."""

    name: str
    model: float
    run: float

    @property
    def holds(self) -> bool:
        """Whether they agree within the tolerance."""
        return self.run > 0 and 1 / TOLERANCE <= self.model / self.run <= TOLERANCE


def check(measured: Measured, report: dict[str, Any]) -> list[Check]:
    """The model's figures against those of a report of make bench-bridge, none of them its own input."""
    versus = report["throughput"]["runs"]["one processor"]
    rates = sorted(versus["rates"]["bridge"])
    endured = report["endurance"]
    return [
        Check("validations a second of one bridge", measured.saturated_per_second, rates[len(rates) // 2]),
        Check(
            "MiB stored by the endurance run",
            endured["requests"] * measured.events_per_validation * measured.bytes_per_event / 2**20,
            endured["events"] * endured["bytes_per_event"] / 2**20,
        ),
        Check(
            "microseconds of a validation from memory",
            measured.microseconds.memory,
            report["tiers"]["memory"]["server_us"],
        ),
        Check("resident MiB", measured.resident_mib, max(one["resident_mib"] for one in endured["samples"])),
    ]


def from_report(report: dict[str, Any], day: str) -> dict[str, Any]:
    """What measured.yaml holds, from a report of make bench-bridge."""
    rates = sorted(report["throughput"]["runs"]["one processor"]["rates"]["bridge"])
    tiers, endured = report["tiers"], report["endurance"]
    return {
        "measured": day,
        "machine": f"{report['machine']['processors']} processors, kernel {report['machine']['kernel']}",
        "saturated_per_second": round(rates[len(rates) // 2]),
        "microseconds": {
            "memory": round(tiers["memory"]["server_us"]),
            "policy": round(tiers["policy"]["server_us"]),
            "review": round(tiers["review, asked before"]["server_us"]),
        },
        "events_per_validation": round(endured["events"] / endured["requests"], 2),
        "bytes_per_event": round(endured["bytes_per_event"]),
        "resident_mib": round(max(one["resident_mib"] for one in endured["samples"])),
    }
