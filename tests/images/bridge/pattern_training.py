"""Learns the classifier's weights from the corpus, and measures them on calls it has not seen.

Run as a program it prints the measure and writes the model that is shipped.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.patterns import CONFIDENCE, Model, read_features
from lighthouse_bridge.decisions.rules import load_rules
from lighthouse_bridge.decisions.verdict import Decision
from tests.images.bridge.labelled import BLIND_SHARES, Call, load_calls
from tests.images.bridge.support import REPOSITORY, RULES

MODEL = REPOSITORY / "policies" / "patterns" / "model.json"
EPOCHS = 30
RATE = 0.3
DECAY = 0.0005
FOLDS = 5
# A refusal of what an expert would approve is so much worse than a dangerous call that goes to an expert.
CAUTION = 8.0
# Everyday calls with one option that makes them dangerous: rules tell them apart, words do not, and learning from them
# would refuse the everyday calls. The blind lists stay blind.
LEFT_OUT = frozenset({"hostile", *BLIND_SHARES})
# Weights below this change no decision worth speaking of.
LEAST = 0.05


@dataclass(frozen=True)
class Example:
    """A call, what the classifier sees of it, whether it is dangerous and whether the classifier is asked."""

    call: Call
    features: tuple[str, ...]
    dangerous: bool
    asked: bool

    @property
    def fold(self) -> int:
        """Which part it belongs to, by its text alone; calls that share all but their ends stay together."""
        return hashlib.sha256(self.call.command[:24].encode()).digest()[0] % FOLDS


def load_examples() -> list[Example]:
    """The corpus as the classifier sees it."""
    judge = Judge(load_rules(RULES), ())
    found = []
    for call in (call for call in load_calls() if call.topic not in LEFT_OUT):
        verdict = judge.decide(call.tool, call.tool_input)
        features = tuple(sorted(read_features(call.tool, call.tool_input, verdict)))
        found.append(Example(call, features, call.is_dangerous, verdict.decision is Decision.REVIEW))
    return sorted(found, key=lambda example: hashlib.sha256(example.call.command.encode()).digest())


def train(examples: list[Example]) -> Model:
    """Logistic regression by gradient descent, always in the same order; the rarer class weighs more."""
    weights: dict[str, float] = {}
    bias = 0.0
    share = sum(example.dangerous for example in examples) / len(examples)
    for epoch in range(EPOCHS):
        rate = RATE / (1 + epoch / 5)
        for example in examples:
            total = bias + sum(weights.get(feature, 0.0) for feature in example.features)
            expected = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))
            error = (1.0 if example.dangerous else 0.0) - expected
            step = rate * error * (0.5 / share if example.dangerous else CAUTION * 0.5 / (1 - share))
            bias += step * 0.1
            for feature in example.features:
                weight = weights.get(feature, 0.0)
                weights[feature] = weight + step - rate * DECAY * weight
    kept = {name: round(weight, 3) for name, weight in sorted(weights.items()) if abs(weight) >= LEAST}
    digest = hashlib.sha256(json.dumps([round(bias, 3), kept], sort_keys=True).encode())
    return Model(1, digest.hexdigest()[:12], round(bias, 3), kept)


@dataclass(frozen=True)
class Measure:
    """How a model judged unseen calls that the rules leave to experts."""

    dangerous: int
    caught: int
    others: int
    refused: tuple[str, ...]


def measure(examples: list[Example]) -> Measure:
    """Judge every call by a model that was learned without its part of the corpus."""
    dangerous = caught = others = 0
    refused = []
    for fold in range(FOLDS):
        model = train([example for example in examples if example.fold != fold])
        for example in examples:
            if example.fold != fold or not example.asked:
                continue
            blocked = model.danger(frozenset(example.features)) >= CONFIDENCE
            if example.dangerous:
                dangerous += 1
                caught += blocked
            else:
                others += 1
                refused += [example.call.command] if blocked else []
    return Measure(dangerous, caught, others, tuple(refused))


def write_model(model: Model, path: Path) -> None:
    """Write a model so that a change of it can be read."""
    content = {
        "schema": model.schema,
        "version": model.version,
        "bias": model.bias,
        "weights": model.weights,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=0, sort_keys=True) + "\n")


def main() -> None:
    """Print the measure on unseen calls and write the model learned from all."""
    examples = load_examples()
    found = measure(examples)
    print(f"{len(examples)} calls, {FOLDS} parts, each judged by a model that has not seen it")
    print(f"dangerous calls the rules leave to experts: {found.dangerous}, blocked: {found.caught}")
    print(f"other calls the rules leave to experts: {found.others}, blocked: {len(found.refused)}")
    for command in found.refused:
        print(f"  {command!r}")
    model = train(examples)
    write_model(model, MODEL)
    print(f"{MODEL.relative_to(REPOSITORY)}: version {model.version}, {len(model.weights)} weights")


if __name__ == "__main__":
    main()
