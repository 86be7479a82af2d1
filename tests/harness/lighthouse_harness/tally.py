"""What a run has proven so far: renders, objects, containers and assertions, over all of pytest's workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from .findings import report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .findings import Finding, Verdict
    from .render import Statistics
    from .waivers import Waivers


@dataclass(slots=True)
class Tally:
    """Counts of one process; `add` brings in those of another."""

    renders: int = 0
    helm_runs: int = 0
    objects: int = 0
    containers: int = 0
    assertions: int = 0
    """Things examined by verdicts that were required: one container, one object, one probe each."""
    verdicts: int = 0
    gates: dict[str, str] = field(default_factory=dict)
    """A line for each gate of `--chart`."""

    def count(self, statistics: Statistics) -> None:
        """Take over what a renderer did."""
        self.renders += statistics.renders
        self.helm_runs += statistics.helm_runs
        self.objects += statistics.objects
        self.containers += statistics.containers

    def add(self, other: Mapping[str, object]) -> None:
        """Add what `asdict` gave for another process."""
        for name, value in other.items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
            elif isinstance(value, dict):
                self.gates |= value

    def as_dict(self) -> dict[str, object]:
        """Plain data, to be sent from a worker."""
        return asdict(self)

    def line(self) -> str:
        """The counts as one line."""
        return (
            f"{self.renders} renders ({self.helm_runs} by Helm, the others from the cache), {self.objects} objects, "
            f"{self.containers} containers, {self.assertions} assertions in {self.verdicts} verdicts"
        )


@dataclass(slots=True, repr=False)
class Prover:
    """Requires verdicts to be without findings, except those that are waived, and counts them."""

    tally: Tally
    waivers: Waivers

    def __call__(self, *verdicts: Verdict) -> None:
        """Raise `AssertionError` with every finding of all the verdicts; `EmptySelectionError` if one is empty."""
        __tracebackhide__ = True  # what is wrong is in the message
        found: list[Finding] = []
        for verdict in verdicts:
            left = self.waivers.apply(verdict)
            self.tally.assertions += verdict.examined
            self.tally.verdicts += 1
            if not verdict.examined:
                verdict.require()
            found += left.findings
        if found:
            raise AssertionError(report(found))
