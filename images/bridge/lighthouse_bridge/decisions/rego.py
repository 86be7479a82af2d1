"""Policies in Rego, evaluated in this process: refusals on top of the rules. They see a call as the judge parsed it.
Whatever fails is for the caller to refuse."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from regopy import Interpreter, RegoError

from .rules import RISKS, Id, RulesError, Sentence
from .verdict import Decision, Finding

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "data.lighthouse.decisions"


class EngineError(Exception):
    """The policies gave no answer that can be used; the message completes "because …"."""


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One element of `data.lighthouse.decisions`."""

    decision: Literal["review", "block"]
    rule: Id
    reason: Sentence
    risk: Literal["medium", "high", "critical"] = "high"


class Policies:
    """The `*.rego` files of a folder, compiled once; `version` is made of their contents. For one thread at a time.
    Raises RulesError when they cannot be used."""

    def __init__(self, folder: Path) -> None:
        paths = sorted(folder.glob("*.rego"))
        if not paths:
            raise RulesError(
                f"The folder {folder} has no policy (*.rego); mount one or unset LIGHTHOUSE_REGO_DIR."
            )
        self._interpreter = Interpreter()
        digest = hashlib.sha256()
        try:
            for path in paths:
                content = path.read_text()
                digest.update(f"{path.name}\0{len(content)}\0{content}".encode())
                self._interpreter.add_module(path.name, content)
            self._bundle = self._interpreter.build(QUERY, [])
        except (RegoError, OSError, UnicodeError) as error:
            cause = " ".join(str(error).split())[:300]
            raise RulesError(f"The policies in {folder} cannot be used: {cause}.") from None
        self.version = digest.hexdigest()[:12]

    def ask(self, document: dict[str, Any]) -> list[Finding]:
        """What the policies have against the call that `document` describes; raises EngineError."""
        try:
            self._interpreter.set_input(document)
            output = self._interpreter.query_bundle(self._bundle)
            if not output.ok() or not output.results or not output.results[0].expressions:
                raise EngineError(f"the policies define no {QUERY}")
            return read_refusals(output.results[0].expressions[0])
        except RegoError as error:
            raise EngineError(f"the policies failed: {' '.join(str(error).split())[:200]}") from None


def read_refusals(answer: Any) -> list[Finding]:
    """Findings of an answer; raises EngineError for one that is no set of refusals."""
    try:
        refusals = msgspec.convert(answer, list[Refusal])
    except msgspec.ValidationError as error:
        raise EngineError(f"the policies answered something else than refusals: {error}") from None
    decisions = {"review": Decision.REVIEW, "block": Decision.BLOCK}
    return [
        Finding(decisions[one.decision], RISKS[one.risk], one.rule, "", one.reason, "rego")
        for one in refusals
    ]
