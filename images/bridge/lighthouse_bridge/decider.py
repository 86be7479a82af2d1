"""The tiers that decide at once: a memory of recent verdicts, then the rules. What neither decides is
reviewed."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from . import metrics
from .decisions.judge import Judge
from .decisions.rules import RulesError, RuleSet, fingerprint, load_rules
from .logs import log

if TYPE_CHECKING:
    from pathlib import Path

    from .decisions.verdict import Verdict

CACHE_ENTRIES = 10_000
CACHE_SECONDS = 300.0


class Decider:
    """Decides tool calls by the rules of a folder. `load` first; it raises RulesError for broken ones."""

    def __init__(self, folder: Path, project_roots: tuple[str, ...]) -> None:
        self._folder = folder
        self._roots = project_roots
        self._mark: tuple[Any, ...] = ()
        self._judge: Judge | None = None
        self._cache: OrderedDict[str, tuple[float, Verdict]] = OrderedDict()
        self._lock = Lock()
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

    def decide(self, tool_name: str, tool_input: dict[str, Any]) -> tuple[Verdict, str, bool]:
        """The verdict, the version of the rules that gave it, and whether memory had it."""
        key = command_hash(tool_name, tool_input)
        now = time.monotonic()
        with self._lock:
            judge, version = self._judge, self.version
            entry = self._cache.get(key)
            if entry is not None and entry[0] > now:
                self._cache.move_to_end(key)
                metrics.cache_lookups.labels("hit").inc()
                return entry[1], version, True
        if judge is None:
            raise RulesError("No rules are loaded.")
        metrics.cache_lookups.labels("miss").inc()
        verdict = judge.decide(tool_name, tool_input)
        with self._lock:
            # Rules may have changed meanwhile; an old verdict must not enter the new memory.
            if judge is self._judge:
                self._cache[key] = (now + CACHE_SECONDS, verdict)
                if len(self._cache) > CACHE_ENTRIES:
                    self._cache.popitem(last=False)
        return verdict, version, False

    def _use(self, rules: RuleSet) -> None:
        judge = Judge(rules, self._roots)
        with self._lock:
            self._judge = judge
            self._cache.clear()
            self.version = rules.version
            self.broken = False
        metrics.rules_loaded.set(rules.count)
        metrics.rules_broken.set(0)


def command_hash(tool_name: str, tool_input: dict[str, Any]) -> str:
    """SHA-256 over the tool and its sorted input; its first 16 digits are the published command hash."""
    text = f"{tool_name}:{sorted(tool_input.items())}"
    return hashlib.sha256(text.encode()).hexdigest()
