"""Every labelled command of the corpus is decided as its label says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import load_rules
from tests.images.bridge.support import RULES

CORPUS = Path(__file__).with_name("corpus")
LABELS = {"approved": "approved", "review": "review_required", "blocked": "blocked"}


def commands() -> list[tuple[str, str, str]]:
    """Topic, label and command of the whole corpus."""
    found = []
    for path in sorted(CORPUS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        if isinstance(content, dict):
            assert set(content) <= set(LABELS), path
            found += [(path.stem, label, str(command)) for label in content for command in content[label]]
    return found


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(load_rules(RULES), ())


def test_the_corpus_is_large_and_labels_no_command_twice() -> None:
    texts = [command for _, _, command in commands()]
    assert len(texts) >= 150
    assert not {text for text in texts if texts.count(text) > 1}


@pytest.mark.parametrize("topic", sorted({topic for topic, _, _ in commands()}))
def test_every_command_is_decided_as_labelled(judge: Judge, topic: str) -> None:
    wrong = []
    for where, label, command in commands():
        if where == topic:
            verdict = judge.decide("Bash", {"command": command})
            if verdict.decision.status != LABELS[label]:
                wrong.append(f"{command!r}: {verdict.decision.status}, not {LABELS[label]}: {verdict.reason}")
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_tool_call_is_decided_as_labelled(judge: Judge) -> None:
    calls: list[tuple[str, dict[str, Any], str]] = yaml.safe_load((CORPUS / "tools.yaml").read_text())
    wrong = []
    for tool, tool_input, label in calls:
        verdict = judge.decide(tool, tool_input)
        if verdict.decision.status != LABELS[label]:
            wrong.append(f"{tool} {tool_input}: {verdict.decision.status}, not {label}: {verdict.reason}")
    assert len(calls) >= 30
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_decision_names_a_rule_and_says_why(judge: Judge) -> None:
    for _, _, command in commands():
        verdict = judge.decide("Bash", {"command": command})
        assert verdict.rule
        assert verdict.reason.endswith(".")
        assert verdict.findings
