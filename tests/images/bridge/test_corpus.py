"""Every labelled call of the corpus is decided as its label says, and whoever is refused is told a way."""

import re
from collections import Counter

import pytest
import yaml

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import load_rules
from lighthouse_bridge.decisions.verdict import Decision, Verdict
from tests.images.bridge.labelled import BLIND_SHARES, EXPERT_SHARE, LABELS, Call, load_calls
from tests.images.bridge.support import RULES

CALLS = load_calls()
# What the second half of a refusal begins with: something to do.
WAYS = (
    r"add|ask|change|commit|copy|delete|download|end|give|have|keep|leave|list|move|name|plan|publish|push|put|read|render|run"
    r"|save|search|set|start|stash|stay|use|wait|work|write|test"
)


@pytest.fixture(scope="module")
def verdicts() -> list[tuple[Call, Verdict]]:
    """Every call with what the shipped rules say."""
    judge = Judge(load_rules(RULES), ())
    return [(call, judge.decide(call.tool, call.tool_input)) for call in CALLS]


def test_the_corpus_is_large_and_labels_no_call_twice() -> None:
    texts = [call.command for call in CALLS]
    assert len(texts) >= 1000
    assert sum(call.is_dangerous for call in CALLS) >= 150
    assert sum(call.topic == "bypasses" for call in CALLS) >= 75
    assert sum(call.topic == "hostile" for call in CALLS) >= 500
    assert sum(call.tool != "Bash" for call in CALLS) >= 45
    labelled = Counter(
        (call.tool, str(call.tool_input)) for call in CALLS if call.topic != "bypasses" and not call.is_blind
    )
    assert not [call for call, count in labelled.items() if count > 1]


@pytest.mark.parametrize("topic", sorted({call.topic for call in CALLS}))
def test_every_call_is_decided_as_labelled(verdicts: list[tuple[Call, Verdict]], topic: str) -> None:
    wrong = [
        f"{call.name or call.command!r}: {verdict.decision.status}, not {call.label}: {verdict.reason}"
        for call, verdict in verdicts
        if call.topic == topic and verdict.decision.status not in LABELS[call.label]
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_few_harmless_calls_need_an_expert(verdicts: list[tuple[Call, Verdict]]) -> None:
    harmless = [(call, verdict) for call, verdict in verdicts if call.is_harmless]
    asking = [call.command for call, verdict in harmless if verdict.decision is not Decision.APPROVE]
    assert len(harmless) >= 600
    assert len(asking) / len(harmless) < EXPERT_SHARE, asking


@pytest.mark.parametrize("topic", sorted(BLIND_SHARES))
def test_few_harmless_calls_of_a_blind_list_need_an_expert(
    verdicts: list[tuple[Call, Verdict]], topic: str
) -> None:
    listed = [verdict for call, verdict in verdicts if call.topic == topic]
    asking = sum(verdict.decision is not Decision.APPROVE for verdict in listed)
    assert len(listed) >= 400
    assert asking / len(listed) < BLIND_SHARES[topic], asking


def test_every_decision_names_a_rule_and_its_layer(verdicts: list[tuple[Call, Verdict]]) -> None:
    for call, verdict in verdicts:
        assert verdict.rule, call
        assert verdict.layer in {"shipped", "built-in"}, call
        assert verdict.findings, call


def test_every_refusal_says_in_one_sentence_what_to_do_instead(verdicts: list[tuple[Call, Verdict]]) -> None:
    refusals = {
        verdict.reason: call.command for call, verdict in verdicts if verdict.decision is not Decision.APPROVE
    }
    assert len(refusals) >= 100
    lost = [f"{reason} ({command!r})" for reason, command in refusals.items() if not shows_a_way(reason)]
    assert not lost, "\n" + "\n".join(lost)


def test_every_rule_that_refuses_says_what_to_do_instead() -> None:
    rules = [
        rule
        for path in sorted(RULES.glob("*.yaml"))
        for content in [yaml.safe_load(path.read_text())]
        for part in ("rules", "wrappers", "contents")
        for rule in content.get(part, [])
        if rule.get("decision", "approve") != "approve"
    ]
    assert len(rules) >= 45
    lost = [f"{rule['id']}: {rule['reason']}" for rule in rules if not shows_a_way(rule["reason"])]
    assert not lost, "\n" + "\n".join(lost)


def shows_a_way(reason: str) -> bool:
    """Whether a reason is one sentence that ends in something to do."""
    # What is quoted from the call is no part of the sentence's shape.
    plain = re.sub(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", "x", reason)
    why, _, way = plain.rpartition("; ")
    return (
        bool(why) and re.match(rf"({WAYS})\b", way) is not None and plain.endswith(".") and ". " not in plain
    )
