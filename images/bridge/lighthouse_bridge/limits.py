"""How much agents may ask for: each of them, and all together, over all bridges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from . import metrics
from .credentials import Role
from .problems import Problem
from .shared import LocalShared, Rate, SharedAwayError

if TYPE_CHECKING:
    from .shared import Shared

# How long an agent that was silent may go at full speed.
AGENT_BURST_SECONDS = 30.0
TOTAL_BURST_SECONDS = 1.0
# A builder makes its calls one by one; experts look around, operators load trees.
ROLE_TIMES = {Role.EXPERT: 2, Role.BUILDER: 1, Role.OPERATOR: 10}


class RequestLimits:
    """Counts requests where all bridges count together. Without that each bridge keeps to its share, so that
    together they admit no more than the limit."""

    def __init__(
        self, shared: Shared, *, agent_per_minute: int, total_per_second: int, replicas: int
    ) -> None:
        """A limit of 0 is none; `replicas` is how many bridges there are at most."""
        self._shared = shared
        self._alone = LocalShared()
        self._replicas = replicas
        self._agent = _rate(agent_per_minute, 60, AGENT_BURST_SECONDS)
        self._total = _rate(total_per_second, 1, TOTAL_BURST_SECONDS)

    async def admit(self, agent_id: str, role: Role) -> None:
        """Count a request; raises Problem 429 that says when to come again."""
        # The agent first: what it is refused must not be taken from the others.
        if self._agent is not None:
            rate = self._agent.times(ROLE_TIMES[role])
            await self._check(f"agent:{role.label}:{agent_id}", rate, f"The agent {agent_id!r} asks too much")
        if self._total is not None:
            await self._check("total", self._total, "All agents together ask too much")

    async def admit_to(self, what: str, agent_id: str, rate: Rate) -> None:
        """Count one thing of a kind that has a limit of its own; raises Problem 429."""
        await self._check(f"{what}:{agent_id}", rate, f"The agent {agent_id!r} makes too many {what}")

    async def _check(self, name: str, rate: Rate, sentence: str) -> None:
        try:
            wait = await self._shared.wait_for(name, rate)
        except SharedAwayError:
            wait = self._alone.take(name, rate.share(self._replicas))
        if wait > 0:
            metrics.requests_limited.labels(name.partition(":")[0]).inc()
            seconds = math.ceil(wait)
            raise Problem(
                429,
                f"{sentence}: at most {rate.count:g} in {rate.seconds:g} s; try again in {seconds} s.",
                (("Retry-After", str(seconds)),),
            )


def _rate(count: int, seconds: float, burst_seconds: float) -> Rate | None:
    if count == 0:
        return None
    return Rate(count, seconds, max(1, round(count * burst_seconds / seconds)))
