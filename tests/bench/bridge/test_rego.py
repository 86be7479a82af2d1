"""The rules reach the policy server whole, or not at all."""

import re

import pytest

from lighthouse_bridge.decisions.rules import CommandRule, Layer, RuleFile, RuleSet, When, load_rules
from tests.bench.bridge.mix import SHARES, corpus, mixed
from tests.bench.bridge.rego import translate
from tests.images.bridge.support import RULES


def rule_set(**fields: object) -> RuleSet:
    rule = CommandRule(id="test.rule", programs=["x"], decision="approve", reason="For this test.", **fields)  # type: ignore[arg-type]  # the fields are those of the test
    return RuleSet([Layer("shipped", "1", (RuleFile(schema=1, rules=[rule]),))])


def test_every_shipped_command_rule_is_translated() -> None:
    rules = load_rules(RULES)
    names = {rule.id for each in rules.rules.values() for rule in each}
    assert set(translate(rules)["rules"]) == names
    assert len(names) > 50


def test_what_must_not_follow_becomes_an_expression_of_its_own() -> None:
    operand = translate(rule_set(operand="(?!-$).+"))["rules"]["test.rule"]["operand"]
    assert operand == {"is": "(?s)^(?:.+)$", "unless": "(?s)^(?:-$)"}


@pytest.mark.parametrize("text", ["s/a/b/g", "s|a|b|", "s/a|b/", "s/a/b|g"])
def test_a_reference_back_becomes_a_choice(text: str) -> None:
    pattern = "s([/|])[^/|]*\\1[^/|]*\\1g?"
    translated = translate(rule_set(patterns=1, pattern=pattern))["rules"]["test.rule"]["pattern"]["is"]
    assert bool(re.match(translated, text)) == bool(re.fullmatch(pattern, text))


@pytest.mark.parametrize("pattern", ["a(?=b)", "(a)(b)\\2", "(a.*)\\1"])
def test_an_expression_that_has_no_like_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="expression"):
        translate(rule_set(when=When(operand=pattern)))


def test_the_mix_holds_the_stated_shares() -> None:
    calls = mixed(1000, corpus())
    found = {
        label: sum(call.decision == label for call in calls) for label in ("approved", "blocked", "escalate")
    }
    assert list(found.values()) == [1000 * share for share in SHARES.values()]
