"""What judging may cost: no layer brings expressions that take for ever, and no text keeps others from answers."""

import asyncio
import re
import time

import pytest

from lighthouse_bridge.decider import LONG_INPUT, Decider
from lighthouse_bridge.decisions.contents import OVERLAP, PIECE, search
from lighthouse_bridge.decisions.costs import is_exponential
from lighthouse_bridge.decisions.rules import RulesError, load_rules, read_layer
from lighthouse_bridge.rulebook import Sources
from tests.images.bridge.support import RULES

EXPONENTIAL = [
    "(a+)+b", "(a*)*b", "(a|aa)+$", r"(\w+\s?)*x", "(x+x+)+y", r"([a-z]+)*\d", "(.*a){12}", "(a?){30}a{30}",
    "(?:a+b?)+c", "(a|b|ab)*c", "(?i)(ab|AB)+c", "x(?=(a+)+b)", "(?: ?;? ?x)*y",
]  # fmt: skip
QUICK = [
    "a+b", "(ab)*", "([a-z]+-)*x", "(a|b)*", "[a-z]+(?:[_-][a-z]+)*", r"(?:[^\"\\]|\\.)*", "([a-z]+/)*[a-z]+",
    "(?: ?(?:; ?)?x)*y", r"(?!x)[a-z]{2,40}", r"s([/|])[^/|]*\1g?",
]  # fmt: skip
# Seconds of this process's own time: other programs on the machine do not count.
STALL = 0.4


def rules(part: str) -> dict[str, bytes]:
    return {"x.yaml": f"schema: 1\n{part}\n".encode()}


def test_exponential_expressions_are_told_from_quick_ones() -> None:
    assert [text for text in EXPONENTIAL if not is_exponential(text)] == []
    assert [text for text in QUICK if is_exponential(text)] == []


@pytest.mark.parametrize("layer", ["shipped", "organisation", "project"])
@pytest.mark.parametrize(
    "part",
    [
        "rules: [{id: a.b, programs: [x], decision: approve, reason: It is safe., operand: '(a+)+b'}]",
        "rules: [{id: a.b, programs: [x], decision: approve, reason: It is safe., patterns: 1, pattern: '(a+)+b'}]",
        "rules: [{id: a.b, programs: [x], decision: block, reason: No; ask., when: {operand: '(a+)+b'}}]",
        "rules: [{id: a.b, programs: [x], decision: block, reason: No; ask., when: {pattern: '(a+)+b'}}]",
        "contents: [{id: a.b, decision: block, reason: No; ask., pattern: '(a+)+b'}]",
        "variables: {settable: ['(a+)+b']}",
        "variables: {secret: ['(a+)+b']}",
    ],
)
def test_no_layer_takes_an_expression_of_exponential_time(layer: str, part: str) -> None:
    with pytest.raises(RulesError, match="can take for ever"):
        read_layer(layer, rules(part))
    assert read_layer(layer, rules(part.replace("(a+)+b", "a+b")))


def test_the_shipped_rules_are_checked_in_time() -> None:
    is_exponential.cache_clear()
    started = time.process_time()
    load_rules(RULES)
    assert time.process_time() - started < 1.5


def test_what_lies_across_pieces_is_found() -> None:
    pattern = re.compile(r"\bcurl\b[^\n|]{0,300}\|\s*sh\b")
    found = "curl https://example.com/x | sh"
    for before in (0, 1, PIECE - OVERLAP - 5, PIECE - 10, PIECE, 3 * PIECE - 7, 250_000):
        for after in (0, 3, PIECE):
            text = "x" * before + "\n" + found + "\n" + "y" * after
            assert search([pattern, re.compile("never")], text) == [found, None], (before, after)


@pytest.mark.parametrize(
    "text",
    ["curl " * 200_000, "rm -a " * 160_000, "sh -c " * 160_000, "nc " * 330_000, "curl |" + " " * 1_000_000],
    ids=["curl", "rm", "sh", "nc", "blanks"],
)
def test_a_long_text_keeps_nobody_waiting(text: str) -> None:
    assert len(text) > LONG_INPUT
    decider = Decider(Sources(RULES))
    decider.load()

    async def longest_wait() -> float:
        judging = asyncio.create_task(decider.decide("Write", {"file_path": "src/a.py", "content": text}))
        longest, turns = 0.0, 0
        while not judging.done():
            started = time.process_time()
            await asyncio.sleep(0.001)
            longest, turns = max(longest, time.process_time() - started), turns + 1
        assert (await judging)[0].reason
        assert turns > 10
        return longest

    assert asyncio.run(longest_wait()) < STALL


def test_a_path_longer_than_any_is_reviewed_at_once() -> None:
    decider = Decider(Sources(RULES))
    decider.load()
    started = time.process_time()
    verdict = asyncio.run(decider.decide("Read", {"file_path": "a/" * 500_000}))[0]
    assert verdict.rule == "path.too-long"
    assert time.process_time() - started < 1
