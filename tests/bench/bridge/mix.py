"""The calls of the comparison: labelled commands of the corpus, in the proportions agents send them.

Safe calls are those labelled approved, risky those labelled blocked, complex those that no rule decides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.images.bridge.labelled import load_calls

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARES = {"approved": 0.7, "blocked": 0.2, "review": 0.1}
# The corpus's label as the API and the peer's answer write it.
DECISIONS = {"approved": "approved", "blocked": "blocked", "review": "escalate"}


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call and the decision that the corpus demands for it."""

    tool_name: str
    tool_input: dict[str, Any]
    decision: str


def corpus() -> dict[str, list[Call]]:
    """Every labelled command, by label."""
    found: dict[str, list[Call]] = {label: [] for label in SHARES}
    for call in load_calls():
        if (
            call.label in DECISIONS
            and not call.is_blind
            and call.tool == "Bash"
            and isinstance(call.tool_input.get("command"), str)
        ):
            found[call.label].append(Call("Bash", call.tool_input, DECISIONS[call.label]))
    for label, calls in found.items():
        if not calls:
            raise SystemExit(f"The corpus labels no command {label!r}; the mix needs some.")
    return found


def mixed(count: int, by_label: dict[str, list[Call]]) -> list[Call]:
    """`count` calls in the shares above, in the same random order in every run."""
    chosen = random.Random(1)  # noqa: S311 - an order, guards nothing
    labels = [label for label, share in SHARES.items() for _ in range(round(count * share))]
    chosen.shuffle(labels)
    return [chosen.choice(by_label[label]) for label in labels]


def fresh(count: int, calls: list[Call]) -> Iterator[Call]:
    """`count` calls like those given, each with a comment no other has: no memory can know any of them."""
    for number in range(count):
        call = calls[number % len(calls)]
        text = f"{call.tool_input['command']} # {number}"
        yield Call(call.tool_name, {**call.tool_input, "command": text}, call.decision)
