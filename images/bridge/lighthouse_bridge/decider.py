"""The tiers that decide at once: a memory of recent verdicts, the rules, then a classifier that only refuses. What
none of them decides is reviewed; a tier that fails approves nothing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Any

from . import metrics, tracing
from .breakers import memory_breaker, pattern_breaker, policy_breaker, rego_breaker
from .decisions.patterns import classify
from .decisions.rules import RulesError
from .decisions.verdict import Decision, Finding, Risk, combine
from .logs import log
from .memos import Memo
from .project import Project
from .rulebook import Rulebook

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .decisions.explanation import RuleEntry
    from .decisions.verdict import Verdict
    from .rulebook import Rules, Sources
    from .verdict_memory import VerdictMemory

MEMORY_ENTRIES, MEMORY_SECONDS = 10_000, 300.0
# What the rules said is kept apart as well, so that they are spared while the memory is left out.
POLICY_ENTRIES, POLICY_KEPT_SECONDS = 1_000, 60.0
PATTERN_ENTRIES, PATTERN_KEPT_SECONDS = 500, 300.0
POLICY_SECONDS = 2.0
# Refusals that are not remembered.
_FAILURES = frozenset({"policy.failed", "rego.failed"})
# Longer texts are judged beside the event loop, so that others need not wait for them.
LONG_INPUT = 2048


class Decider:
    """Decides tool calls by rules. `load` first; it raises RulesError for broken ones."""

    def __init__(self, sources: Sources, shared: VerdictMemory | None = None) -> None:
        self._rulebook = Rulebook(sources)
        self._rules: Rules | None = None
        self._shared = shared
        self._generation: str | None = ""
        self._verdicts: Memo[Verdict] = Memo(MEMORY_ENTRIES, MEMORY_SECONDS)
        self._judged: Memo[Verdict] = Memo(POLICY_ENTRIES, POLICY_KEPT_SECONDS)
        self._classified: Memo[Verdict] = Memo(PATTERN_ENTRIES, PATTERN_KEPT_SECONDS)
        self._memory = memory_breaker()
        self._policy = policy_breaker()
        self._rego = rego_breaker()
        self._pattern = pattern_breaker()

    def load(self, project: Project | None = None) -> None:
        """Load the rules for the first time; of a project nothing is known without `project`."""
        self._use(self._rulebook.load(project or Project()))

    def reload_if_changed(self, project: Project | None = None) -> None:
        """Load changed rules; broken ones leave those in force."""
        changed = self._rulebook.reload_if_changed(project or Project())
        if changed is not None:
            self._use(changed)

    @property
    def version(self) -> str:
        """The version of the rules in force, or an empty text before they are loaded."""
        return self._rules.version if self._rules else ""

    @property
    def broken(self) -> bool:
        """Whether changed rules could not be loaded and older ones are in force."""
        return self._rulebook.broken

    @property
    def capabilities(self) -> Mapping[str, frozenset[str]]:
        """By tool, what an expert must be able to do, one of them at least, to judge its calls."""
        return self._rules.capabilities if self._rules else {}

    def entries(self) -> tuple[str, list[RuleEntry]]:
        """The version in force and its rules."""
        return self.version, self._rules.entries if self._rules else []

    async def decide(self, tool_name: str, tool_input: dict[str, Any]) -> tuple[Verdict, str, bool]:
        """The verdict, the version of the rules that gave it, and whether memory had it. Never raises for a
        tier that fails: without the rules nothing is approved."""
        rules = self._rules
        if rules is None:
            raise RulesError("No rules are loaded.")
        key = f"{command_hash(tool_name, tool_input)}:{rules.state}"
        found = self._recall(key)
        if found is not None:
            return found, rules.version, True
        long = sum(len(value) for value in tool_input.values() if isinstance(value, str)) > LONG_INPUT
        # Other bridges are asked only about what takes longer to judge than to ask.
        if long and self._shared is not None and (found := await self._shared.recall(key)) is not None:
            self._remember(key, found)
            return found, rules.version, True
        verdict = self._judged.get(key)
        if verdict is None:
            with tracing.span("rules"):
                verdict = await self._judge(rules, tool_name, tool_input, beside=long)
            verdict = await self._ask_policies(rules, tool_name, tool_input, verdict)
            if verdict.rule in _FAILURES:
                return verdict, rules.version, False
            self._judged.put(key, verdict)
        if verdict.decision is Decision.REVIEW and rules.model is not None:
            seen = self._classify(rules, key, tool_name, tool_input, verdict)
            if seen is None:
                return verdict, rules.version, False
            verdict = seen
        self._remember(key, verdict)
        if long and self._shared is not None:
            await self._shared.remember(key, verdict)
        return verdict, rules.version, False

    async def _judge(
        self, rules: Rules, tool_name: str, tool_input: dict[str, Any], *, beside: bool
    ) -> Verdict:
        if not self._policy.allows():
            return _refuse("The rules failed repeatedly and rest for a while")
        started = time.perf_counter()
        try:
            if beside:
                async with asyncio.timeout(POLICY_SECONDS):
                    verdict = await asyncio.to_thread(rules.judge.decide, tool_name, tool_input)
            else:
                verdict = rules.judge.decide(tool_name, tool_input)
        except TimeoutError:
            self._policy.failed(f"no verdict within {POLICY_SECONDS:g} s")
            return _refuse(f"The rules took longer than {POLICY_SECONDS:g} s")
        except Exception as error:
            # A defect of the judge: whatever it is, the call must not pass because of it.
            log.exception("rules failed", tool_name=tool_name[:80])
            self._policy.failed(type(error).__name__)
            return _refuse("The rules failed on this call")
        self._policy.succeeded()
        metrics.tier_seconds.labels("policy").observe(time.perf_counter() - started)
        return verdict

    async def _ask_policies(
        self, rules: Rules, tool_name: str, tool_input: dict[str, Any], verdict: Verdict
    ) -> Verdict:
        """What policies in Rego add; where they should speak and do not, the call is denied."""
        if rules.engine is None or verdict.decision is Decision.BLOCK:
            return verdict
        if not self._rego.allows():
            return _refuse("The policies failed repeatedly and rest for a while", "rego.failed")
        started = time.perf_counter()
        try:
            with tracing.span("policies"):
                found = await rules.engine.ask(rules.judge.describe(tool_name, tool_input, verdict))
        except Exception as error:
            log.exception("policies failed", tool_name=tool_name[:80])
            self._rego.failed(str(error))
            return _refuse("The policies gave no answer", "rego.failed")
        self._rego.succeeded()
        metrics.tier_seconds.labels("rego").observe(time.perf_counter() - started)
        return combine([*verdict.findings, *found]) if found else verdict

    def _classify(
        self, rules: Rules, key: str, tool_name: str, tool_input: dict[str, Any], verdict: Verdict
    ) -> Verdict | None:
        """What the classifier makes of a call for review; None when it is left out: then experts decide."""
        if rules.model is None or not self._pattern.allows():
            return None
        found = self._classified.get(key)
        if found is not None:
            return found
        started = time.perf_counter()
        try:
            with tracing.span("classifier"):
                found = classify(rules.model, tool_name, tool_input, verdict)
        except Exception as error:
            log.exception("classifier failed", tool_name=tool_name[:80])
            self._pattern.failed(type(error).__name__)
            return None
        self._pattern.succeeded()
        metrics.tier_seconds.labels("pattern").observe(time.perf_counter() - started)
        self._classified.put(key, found)
        return found

    def _recall(self, key: str) -> Verdict | None:
        if not self._memory.allows():
            return None
        try:
            self._follow_generation()
            found = self._verdicts.get(key)
        except Exception as error:
            self._memory.failed(type(error).__name__)
            return None
        self._memory.succeeded()
        metrics.child(metrics.cache_lookups, "miss" if found is None else "hit").inc()
        return found

    def _follow_generation(self) -> None:
        """Forget what was kept under another generation, and all while nobody knows which one counts."""
        if self._shared is None:
            return
        generation = self._shared.generation()
        if generation is None or generation != self._generation:
            self._forget()
            self._generation = generation

    def _remember(self, key: str, verdict: Verdict) -> None:
        self._follow_generation()
        self._verdicts.put(key, verdict)

    def _forget(self) -> None:
        self._verdicts.clear()
        self._judged.clear()
        self._classified.clear()

    def _use(self, rules: Rules) -> None:
        self._rules = rules
        self._forget()


def _refuse(why: str, rule: str = "policy.failed") -> Verdict:
    reason = f"{why}, so it is denied; wait a minute and try again, or take a simpler way."
    return combine([Finding(Decision.BLOCK, Risk.HIGH, rule, "", reason)])


def command_hash(tool_name: str, tool_input: dict[str, Any]) -> str:
    """SHA-256 over the tool and its sorted input; its first 16 digits are the published command hash."""
    text = f"{tool_name}:{sorted(tool_input.items())}"
    return hashlib.sha256(text.encode()).hexdigest()
