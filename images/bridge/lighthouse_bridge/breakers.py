"""Circuit breakers: a tier that keeps failing is left out for a while instead of being waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from . import metrics
from .logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = ("memory", "policy", "rego", "pattern", "expert", "redis")
"""What breakers are for, as metrics name it."""


class Breaker:
    """Opens after `failures` in a row; after `reset_seconds` the tier is tried again until it fails once."""

    def __init__(
        self,
        tier: str,
        failures: int,
        reset_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.tier = tier
        self.failures = failures
        self.reset_seconds = reset_seconds
        self._clock = clock
        self._failed = 0
        self._open_until = 0.0
        metrics.circuit_open.labels(tier).set(0)
        metrics.tier_failures.labels(tier)

    def allows(self) -> bool:
        """Whether the tier may be tried now."""
        return self._failed < self.failures or self._clock() >= self._open_until

    def succeeded(self) -> None:
        """Note that the tier did its work."""
        if self._failed >= self.failures:
            log.info("tier works again", tier=self.tier)
            metrics.circuit_open.labels(self.tier).set(0)
        self._failed = 0

    def failed(self, reason: str) -> None:
        """Note that the tier did not do its work."""
        self._failed += 1
        metrics.tier_failures.labels(self.tier).inc()
        log.warning("tier failed", tier=self.tier, reason=reason, failures=self._failed)
        if self._failed >= self.failures:
            self._open_until = self._clock() + self.reset_seconds
            metrics.circuit_open.labels(self.tier).set(1)


def memory_breaker() -> Breaker:
    """Of the memory of recent verdicts."""
    return Breaker("memory", 10, 30.0)


def policy_breaker() -> Breaker:
    """Of the rules."""
    return Breaker("policy", 5, 60.0)


def rego_breaker() -> Breaker:
    """Of policies in Rego."""
    return Breaker("rego", 5, 60.0)


def pattern_breaker() -> Breaker:
    """Of the classifier."""
    return Breaker("pattern", 3, 120.0)


def expert_breaker() -> Breaker:
    """Of the experts: a failure is an escalation that none of those asked answered."""
    return Breaker("expert", 5, 300.0)
