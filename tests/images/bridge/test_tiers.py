"""The tiers that decide at once: what memory keeps, and that a tier which fails approves nothing."""

import asyncio
import time
from typing import Any

import pytest

from lighthouse_bridge import decider as module
from lighthouse_bridge.breakers import (
    Breaker,
    expert_breaker,
    memory_breaker,
    pattern_breaker,
    policy_breaker,
)
from lighthouse_bridge.decider import Decider, command_hash
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.verdict import Decision, Verdict
from lighthouse_bridge.memos import HOT, Memo
from lighthouse_bridge.rulebook import Sources
from tests.images.bridge.support import RULES


@pytest.fixture
def decider() -> Decider:
    """The shipped rules."""
    loaded = Decider(Sources(RULES))
    loaded.load()
    return loaded


def decide(decider: Decider, command: str) -> tuple[Verdict, str, bool]:
    return asyncio.run(decider.decide("Bash", {"command": command}))


def test_memory_forgets_the_longest_unused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_ENTRIES", 2)
    decider = Decider(Sources(RULES))
    decider.load()
    for command in ("ls a", "ls b", "ls a", "ls c"):
        decide(decider, command)
    assert [decide(decider, command)[2] for command in ("ls a", "ls c", "ls b")] == [True, True, False]


def test_memory_forgets_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_SECONDS", 0.0)
    decider = Decider(Sources(RULES))
    decider.load()
    assert [decide(decider, "ls")[2] for _ in range(2)] == [False, False]


def test_a_memory_keeps_what_is_asked_for_often_one_turn_longer() -> None:
    now = 0.0
    memo: Memo[int] = Memo(3, 10.0, lambda: now)
    for name in ("hot", "b", "c"):
        memo.put(name, 1)
    for _ in range(HOT + 1):
        memo.get("hot")
    memo.get("b"), memo.get("c")
    memo.put("d", 1)
    assert [memo.get(name) for name in ("hot", "b", "c", "d")] == [1, None, 1, 1]
    for name in "efg":
        memo.put(name, 1)
    assert memo.get("hot") is None, "it is forgotten when nobody asks for it any more"
    now = 10.0
    assert memo.get("g") is None
    assert len(memo) == 2, "what is too old is dropped when it is asked for"


def test_the_rules_are_spared_while_memory_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "memory_breaker", lambda: Breaker("memory", 0, 30.0, lambda: -1.0))
    decider = Decider(Sources(RULES))
    decider.load()
    first = decide(decider, "ls")
    monkeypatch.setattr(Judge, "decide", lambda *_: pytest.fail("asked again"))
    assert decide(decider, "ls") == first


def test_tiers_are_left_out_after_as_many_failures_and_for_as_long_as_is_said() -> None:
    made = {
        breaker.tier: (breaker.failures, breaker.reset_seconds)
        for breaker in (memory_breaker(), policy_breaker(), pattern_breaker(), expert_breaker())
    }
    assert made == {"memory": (10, 30), "policy": (5, 60), "pattern": (3, 120), "expert": (5, 300)}


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
    decider = Decider(Sources(RULES))
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
