"""A linear classifier of what the rules do not decide: how much a call looks like those known to be dangerous.

It never approves anything. Pure: the same model, call and verdict give the same score.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from .verdict import Decision, Finding, Verdict, combine

if TYPE_CHECKING:
    from pathlib import Path

CONFIDENCE = 0.8
# What of a text is looked at.
MAX_CHARACTERS = 4096
MAX_WORDS = 200
_SHOWN = 4
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PROGRAM = re.compile(r"(?:^|[|&;(`\n]|\$\()\s*([A-Za-z0-9_./-]+)(?:\s+([a-z][a-z-]+))?")
_SIGNS = {
    "encoded": re.compile(r"[A-Za-z0-9+/]{16,}={0,2}(?![A-Za-z0-9+/.])"),
    "escaped": re.compile(r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[0-7]{3}"),
    "device": re.compile(r"/dev/(?:tcp|udp|sd|nvme|mem)"),
    "home": re.compile(r"~/|\$HOME|/home/|/root\b"),
    "system": re.compile(r"(?:^|[\s='\"(])/(?:etc|usr|bin|boot|proc|sys|var|lib)?(?:/|\s|$)"),
    "web": re.compile(r"https?://"),
    "piped-out": re.compile(r"\|\s*(?:ba|z|da)?sh\b|\|\s*python"),
    "hidden": re.compile(r"(?:^|[\s/'\"])\.[a-z]"),
    "redirects": re.compile(r">\s*[^&\s]"),
    "substitutes": re.compile(r"\$\(|`|<\("),
    "blanks": re.compile(r"\s{20,}"),
    "flag-force": re.compile(r"\s(?:--force\S*|-[a-zA-Z]*f[a-zA-Z]*)\b"),
    "flag-recursive": re.compile(r"\s(?:--recursive|-[a-zA-Z]*[rR][a-zA-Z]*)\b"),
}


class ModelError(ValueError):
    """A model cannot be used; the message names the file and what is wrong."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights of features; `version` is made of them and of the calls they were learned from."""

    schema: int
    version: str
    bias: float
    weights: dict[str, float]

    def danger(self, features: frozenset[str]) -> float:
        """How likely a call with these features is dangerous, from 0 to 1."""
        total = self.bias + sum(self.weights.get(feature, 0.0) for feature in features)
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, total))))

    def telling(self, features: frozenset[str]) -> list[str]:
        """The features that speak most for danger, the strongest first."""
        speaking = [feature for feature in features if self.weights.get(feature, 0.0) > 0]
        return sorted(speaking, key=lambda feature: (-self.weights[feature], feature))[:_SHOWN]


def read_model(path: Path) -> Model:
    """Read a model; raises ModelError."""
    try:
        model = msgspec.json.decode(path.read_bytes(), type=Model)
    except (OSError, ValueError) as error:
        raise ModelError(f"The patterns {path} cannot be used: {error}.") from None
    if model.schema != 1:
        raise ModelError(f"The patterns {path} have schema {model.schema}; this bridge reads 1.")
    return model


def read_features(tool_name: str, tool_input: dict[str, Any], verdict: Verdict) -> frozenset[str]:
    """What the classifier sees of a call: what the rules found, programs, words and signs of its text."""
    features = {f"tool:{tool_name}"}
    for finding in verdict.findings:
        if finding.decision is not Decision.APPROVE:
            features.add(f"rule:{finding.rule}")
            features.add(f"risk:{finding.risk.label}")
    texts = [value for value in tool_input.values() if isinstance(value, str)]
    text = "\n".join(texts)[:MAX_CHARACTERS]
    features.update(f"sign:{name}" for name, pattern in _SIGNS.items() if pattern.search(text))
    for program, subcommand in _PROGRAM.findall(text)[:MAX_WORDS]:
        features.add(f"program:{program}")
        if subcommand:
            features.add(f"program:{program} {subcommand}")
    features.update(f"word:{word.lower()}" for word in _WORD.findall(text)[:MAX_WORDS])
    return frozenset(features)


def classify(model: Model, tool_name: str, tool_input: dict[str, Any], verdict: Verdict) -> Verdict:
    """The verdict over a call that the rules leave to others: blocked when it is like dangerous ones, else as it
    was."""
    features = read_features(tool_name, tool_input, verdict)
    danger = model.danger(features)
    if danger < CONFIDENCE:
        return verdict
    why = ", ".join(feature.partition(":")[2] for feature in model.telling(features))
    reason = (
        f"It looks like calls known to be dangerous ({danger:.0%}: {why}); do it in plain steps that the rules know "
        "or ask the operator."
    )
    own = Finding(Decision.BLOCK, verdict.risk, "pattern.dangerous", "", reason)
    blocked = combine([*verdict.findings, own])
    return msgspec.structs.replace(blocked, tier="pattern", score=round(danger, 4))
