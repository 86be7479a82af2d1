"""The tiers that decide at once: a memory of recent verdicts, then the rules. What neither decides is
reviewed; a tier that fails approves nothing."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from . import metrics
from .breakers import memory_breaker, policy_breaker
from .decisions.explanation import list_rules
from .decisions.judge import Judge
from .decisions.rules import RulesError, RuleSet, fingerprint, load_rules
from .decisions.verdict import Decision, Finding, Risk, combine
from .logs import log

if TYPE_CHECKING:
    from pathlib import Path

    from .decisions.explanation import RuleEntry
    from .decisions.verdict import Verdict
    from .verdict_memory import VerdictMemory

CACHE_ENTRIES = 10_000
CACHE_SECONDS = 300.0
POLICY_SECONDS = 2.0
# Longer texts are judged beside the event loop, so that others need not wait for them.
LONG_INPUT = 2048


class Decider:
    """Decides tool calls by the rules of a folder. `load` first; it raises RulesError for broken ones."""

    def __init__(
        self, folder: Path, project_roots: tuple[str, ...], shared: VerdictMemory | None = None
    ) -> None:
        self._folder = folder
        self._shared = shared
        self._generation: str | None = ""
        self._roots = project_roots
        self._mark: tuple[Any, ...] = ()
        self._judge: Judge | None = None
        self._entries: list[RuleEntry] = []
        self._cache: OrderedDict[str, tuple[float, Verdict]] = OrderedDict()
        self._lock = Lock()
        self._memory = memory_breaker()
        self._policy = policy_breaker()
        self.version = ""
        self.broken = False

    def load(self) -> None:
        """Load the rules for the first time."""
        self._mark = fingerprint(self._folder)
        self._use(load_rules(self._folder))

    def reload_if_changed(self) -> None:
        """Load changed rules; broken ones leave those in force and are reported in log and metrics."""
        try:
            mark = fingerprint(self._folder)
            if mark == self._mark:
                return
            self._mark = mark
            rules = load_rules(self._folder)
        except (RulesError, OSError) as error:
            if not self.broken:
                metrics.rules_reloads.labels("failed").inc()
            metrics.rules_broken.set(1)
            self.broken = True
            log.error("rules not reloaded, older ones stay in force", reason=str(error), version=self.version)
            return
        self._use(rules)
        metrics.rules_reloads.labels("loaded").inc()
        log.info("rules reloaded", version=self.version, rules=rules.count)

    def entries(self) -> tuple[str, list[RuleEntry]]:
        """The version in force and its rules."""
        return self.version, self._entries

    async def decide(self, tool_name: str, tool_input: dict[str, Any]) -> tuple[Verdict, str, bool]:
        """The verdict, the version of the rules that gave it, and whether memory had it. Never raises for a
        tier that fails: without the rules nothing is approved."""
        judge, version = self._judge, self.version
        if judge is None:
            raise RulesError("No rules are loaded.")
        key = f"{command_hash(tool_name, tool_input)}:{version}"
        found = self._recall(key)
        if found is not None:
            return found, version, True
        long = sum(len(value) for value in tool_input.values() if isinstance(value, str)) > LONG_INPUT
        # Other bridges are asked only about what takes longer to judge than to ask.
        if long and self._shared is not None and (found := await self._shared.recall(key)) is not None:
            self._remember(key, found)
            return found, version, True
        if not self._policy.allows():
            return _refuse("The rules failed repeatedly and rest for a while"), version, False
        try:
            if long:
                async with asyncio.timeout(POLICY_SECONDS):
                    verdict = await asyncio.to_thread(judge.decide, tool_name, tool_input)
            else:
                verdict = judge.decide(tool_name, tool_input)
        except TimeoutError:
            self._policy.failed(f"no verdict within {POLICY_SECONDS:g} s")
            return _refuse(f"The rules took longer than {POLICY_SECONDS:g} s"), version, False
        except Exception as error:
            # A defect of the judge: whatever it is, the call must not pass because of it.
            log.exception("rules failed", tool_name=tool_name[:80])
            self._policy.failed(type(error).__name__)
            return _refuse("The rules failed on this call"), version, False
        self._policy.succeeded()
        self._remember(key, verdict)
        if long and self._shared is not None:
            await self._shared.remember(key, verdict)
        return verdict, version, False

    def _recall(self, key: str) -> Verdict | None:
        if not self._memory.allows():
            return None
        try:
            with self._lock:
                self._follow_generation()
                entry = self._cache.get(key)
                if entry is None or entry[0] <= time.monotonic():
                    metrics.child(metrics.cache_lookups, "miss").inc()
                    return None
                self._cache.move_to_end(key)
        except Exception as error:
            self._memory.failed(type(error).__name__)
            return None
        self._memory.succeeded()
        metrics.child(metrics.cache_lookups, "hit").inc()
        return entry[1]

    def _follow_generation(self) -> None:
        """Forget what was kept under another generation, and all while nobody knows which one counts."""
        if self._shared is None:
            return
        generation = self._shared.generation()
        if generation is None or generation != self._generation:
            self._cache.clear()
            self._generation = generation

    def _remember(self, key: str, verdict: Verdict) -> None:
        with self._lock:
            self._follow_generation()
            self._cache[key] = (time.monotonic() + CACHE_SECONDS, verdict)
            if len(self._cache) > CACHE_ENTRIES:
                self._cache.popitem(last=False)

    def _use(self, rules: RuleSet) -> None:
        judge, entries = Judge(rules, self._roots), list_rules(rules)
        with self._lock:
            self._judge = judge
            self._entries = entries
            self._cache.clear()
            self.version = rules.version
            self.broken = False
        metrics.rules_loaded.set(rules.count)
        metrics.rules_broken.set(0)


def _refuse(why: str) -> Verdict:
    reason = f"{why}, so it is denied; try again later or take a simpler way."
    return combine([Finding(Decision.BLOCK, Risk.HIGH, "policy.failed", "", reason)])


def command_hash(tool_name: str, tool_input: dict[str, Any]) -> str:
    """SHA-256 over the tool and its sorted input; its first 16 digits are the published command hash."""
    text = f"{tool_name}:{sorted(tool_input.items())}"
    return hashlib.sha256(text.encode()).hexdigest()
