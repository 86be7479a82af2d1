"""The tiers that decide at once: what memory keeps, and that a tier which fails approves nothing."""

import asyncio
import time
from typing import Any

import pytest

from lighthouse_bridge import decider as module
from lighthouse_bridge.breakers import Breaker
from lighthouse_bridge.decider import Decider, command_hash
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.verdict import Decision, Verdict
from tests.images.bridge.support import RULES


@pytest.fixture
def decider() -> Decider:
    """The shipped rules."""
    loaded = Decider(RULES, ())
    loaded.load()
    return loaded


def decide(decider: Decider, command: str) -> tuple[Verdict, str, bool]:
    return asyncio.run(decider.decide("Bash", {"command": command}))


def test_memory_forgets_the_longest_unused_first(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_ENTRIES", 2)
    for command in ("ls a", "ls b", "ls a", "ls c"):
        decide(decider, command)
    assert [decide(decider, command)[2] for command in ("ls a", "ls c", "ls b")] == [True, True, False]


def test_memory_forgets_after_its_time(decider: Decider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SECONDS", 0.0)
    assert [decide(decider, "ls")[2] for _ in range(2)] == [False, False]


def test_the_order_of_the_input_does_not_matter_and_all_else_does() -> None:
    assert command_hash("Bash", {"a": 1, "b": 2}) == command_hash("Bash", {"b": 2, "a": 1})
    calls: list[tuple[str, dict[str, Any]]] = [
        ("Bash", {"a": 1}),
        ("Bash", {"a": "1"}),
        ("Bash", {"a": True}),
        ("Edit", {"a": 1}),
        ("Bash", {}),
    ]
    assert len({command_hash(*call) for call in calls}) == len(calls)


def test_rules_that_fail_deny_and_rest_after_five_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "policy_breaker", lambda: Breaker("policy", 5, 0.5))
    decider = Decider(RULES, ())
    decider.load()

    def fail(_judge: Judge, _tool_name: str, _tool_input: dict[str, Any]) -> Verdict:
        raise RuntimeError

    decide(decider, "ls remembered")
    with monkeypatch.context() as broken:
        broken.setattr(Judge, "decide", fail)
        for n in range(5):
            verdict, _, hit = decide(decider, f"ls {n}")
            assert (verdict.decision, verdict.rule, hit) == (Decision.BLOCK, "policy.failed", False)
    verdict, _, _ = decide(decider, "ls new")
    assert (verdict.decision, "rest for a while" in verdict.reason) == (Decision.BLOCK, True)
    assert decide(decider, "ls remembered")[0].decision is Decision.APPROVE
    time.sleep(0.5)
    assert decide(decider, "ls new")[0].decision is Decision.APPROVE, "a refusal is not remembered"
