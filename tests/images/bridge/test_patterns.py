"""The classifier: it refuses what is like known dangers, approves nothing, and gives way when it fails."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lighthouse_bridge.decider import Decider
from lighthouse_bridge.decisions import patterns
from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.patterns import CONFIDENCE, ModelError, classify, read_features, read_model
from lighthouse_bridge.decisions.rules import load_rules
from lighthouse_bridge.decisions.verdict import Decision
from lighthouse_bridge.rulebook import Sources
from tests.images.bridge.experts import ask
from tests.images.bridge.labelled import load_calls
from tests.images.bridge.pattern_training import MODEL, load_examples, measure, train
from tests.images.bridge.support import RULES, Bridge
from tests.images.bridge.test_approvals import approve

# No rule knows it, and it is like what the corpus calls dangerous.
DISGUISED = "bash -lc 'git push --force && rm -rf tests' && eval $(echo cm0gLXJmIHg= | base64 -d)"


def test_unseen_dangers_are_refused_and_hardly_anything_else() -> None:
    found = measure(load_examples())
    harmless = {call.command for call in load_calls() if call.is_harmless}
    assert found.dangerous >= 200
    assert found.caught / found.dangerous >= 0.6
    assert len(found.refused) / found.others <= 0.03, found.refused
    assert not harmless & set(found.refused)


def test_the_shipped_weights_are_those_learned_from_the_corpus() -> None:
    shipped, learned = read_model(MODEL), train(load_examples())
    hint = "run make patterns after a change of corpus or rules"
    assert abs(shipped.bias - learned.bias) <= 0.01, hint
    assert shipped.weights.keys() == learned.weights.keys(), hint
    assert not [
        name for name, weight in learned.weights.items() if abs(weight - shipped.weights[name]) > 0.01
    ]


def test_it_only_ever_refuses_and_says_why() -> None:
    judge, model = Judge(load_rules(RULES), ()), read_model(MODEL)
    refused = 0
    for call in load_calls():
        verdict = judge.decide(call.tool, call.tool_input)
        if verdict.decision is not Decision.REVIEW:
            continue
        seen = classify(model, call.tool, call.tool_input, verdict)
        if seen.decision is Decision.REVIEW:
            assert seen is verdict
        else:
            refused += 1
            danger = model.danger(read_features(call.tool, call.tool_input, verdict))
            assert (seen.decision, seen.tier, seen.rule) == (Decision.BLOCK, "pattern", "pattern.dangerous")
            assert seen.confidence == pytest.approx(danger, abs=0.001)
            assert danger >= CONFIDENCE
            assert f"{danger:.0%}" in seen.reason
    assert refused >= 50


def test_a_classifier_that_fails_leaves_the_call_to_experts(monkeypatch: pytest.MonkeyPatch) -> None:
    decider = Decider(Sources(RULES, patterns=MODEL))
    decider.load()

    def decide(command: str) -> Decision:
        return asyncio.run(decider.decide("Bash", {"command": command}))[0].decision

    with monkeypatch.context() as broken:
        broken.setattr(patterns, "read_features", lambda *_: 1 / 0)
        assert [decide(f"{DISGUISED}; {n}") for n in range(3)] == [Decision.REVIEW] * 3
    assert decide(f"{DISGUISED}; 4") is Decision.REVIEW, "it rests after three failures"
    fresh = Decider(Sources(RULES, patterns=MODEL))
    fresh.load()
    assert asyncio.run(fresh.decide("Bash", {"command": DISGUISED}))[0].tier == "pattern"


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 2, "version": "", "bias": 0, "weights": {}}'])
def test_a_broken_model_is_named_and_left_out(tmp_path: Path, content: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(content)
    with pytest.raises(ModelError, match=str(path)):
        read_model(path)
    decider = Decider(Sources(RULES, patterns=path))
    decider.load()
    assert asyncio.run(decider.decide("Bash", {"command": DISGUISED}))[0].decision is Decision.REVIEW


def test_a_changed_model_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_bytes(MODEL.read_bytes())
    decider = Decider(Sources(RULES, patterns=path))
    decider.load()
    assert asyncio.run(decider.decide("Bash", {"command": DISGUISED}))[0].decision is Decision.BLOCK
    path.write_text(json.dumps({"schema": 1, "version": "none", "bias": 0.0, "weights": {}}))
    decider.reload_if_changed()
    assert asyncio.run(decider.decide("Bash", {"command": DISGUISED}))[0].decision is Decision.REVIEW


@pytest.mark.heavy
def test_a_person_may_approve_what_it_refuses(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_PATTERNS_FILE=str(MODEL))
    builder, operator = own.join("builder"), own.join("operator")
    refused = ask(builder, DISGUISED)
    assert refused["metadata"]["decision"] == "blocked"
    assert refused["metadata"]["rule"] == "pattern.dangerous"
    assert refused["confidence"] >= CONFIDENCE
    assert ask(builder, DISGUISED)["metadata"]["decision"] == "blocked", "asking again changes nothing"
    waiting = operator.get("/pending").json()["pending"]
    assert [item["stage"] for item in waiting if item["tool_input"] == {"command": DISGUISED}] == ["human"]
    assert approve(operator, refused).status_code == 200
    assert ask(builder, DISGUISED)["approved"] is True
    assert ask(builder, DISGUISED)["approved"] is False, "once is once"
    text = own.http.get(f"http://127.0.0.1:{own.metrics_port}/metrics").text
    assert 'lighthouse_bridge_validation_duration_seconds_count{decision="blocked",tier="pattern"}' in text
    assert 'lighthouse_bridge_tier_duration_seconds_count{tier="pattern"}' in text
