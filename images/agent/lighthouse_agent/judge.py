"""Where a model plugs in: a judge is anything with `judge(case)`.

Name a factory in LIGHTHOUSE_EXPERT_JUDGE as `module:function`; it is called once with the agent's settings.
"""

import importlib
from typing import Any, Protocol

import msgspec

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.settings import RunSettings

DECISIONS = frozenset({"approve", "deny", "abstain"})


class Part(msgspec.Struct, frozen=True):
    """One part of the call as the bridge's rules judged it: approved, escalate or blocked."""

    part: str
    decision: str
    risk_level: str
    rule: str
    reason: str


class Case(msgspec.Struct, frozen=True):
    """What is judged: the call, why no rule decides it, and the files of the project that it names."""

    validation_id: str
    requested_by: str
    agent_type: str
    tool_name: str
    tool_input: dict[str, Any]
    reason: str
    risk_level: str
    parts: tuple[Part, ...]
    files: dict[str, Any]


class Opinion(msgspec.Struct, frozen=True):
    """What a judge thinks: approve, deny or abstain; how sure it is, from 0 to 1; and why, in a sentence."""

    decision: str
    confidence: float
    reasoning: str


class Judge(Protocol):
    """Judges one case at a time. What it raises counts as an abstention."""

    def judge(self, case: Case) -> Opinion:
        """The opinion on a case; the bridge waits for it up to 30 s."""


def load_judge(settings: RunSettings) -> Judge:
    """The judge that the settings name; raises SettingsError."""
    module, _, name = settings.judge.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"LIGHTHOUSE_EXPERT_JUDGE {settings.judge!r} cannot be loaded ({error}); write it as module:function."
        ) from None
    judge: Judge = factory(settings)
    return judge
