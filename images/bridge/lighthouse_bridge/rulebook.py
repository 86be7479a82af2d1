"""The rules in force, from folders and the project's tree; loaded anew when one of them changes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from .decisions.explanation import list_rules
from .decisions.judge import Judge
from .decisions.layers import join_layers, read_project
from .decisions.patterns import Model, ModelError, read_model
from .decisions.rules import RulesError, fingerprint, load_layer
from .logs import log
from .project import Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .decisions.explanation import RuleEntry
    from .decisions.rules import Layer
    from .rego import Engine
    from .remote import Remote


class Sources(msgspec.Struct, frozen=True):
    """Where rules come from: the shipped folder, the organisation's, the classifier's model, and policies in Rego,
    either a folder of them or an OPA server; all but the first may be absent. `roots` are absolute names of the
    project's root."""

    shipped: Path
    organisation: Path | None = None
    patterns: Path | None = None
    roots: tuple[str, ...] = ()
    rego: Path | None = None
    rego_server: Remote | None = None


class Rules(msgspec.Struct, frozen=True):
    """What decides: `version` names the rules; `state` also all else that a verdict follows from."""

    version: str
    state: str
    judge: Judge
    model: Model | None
    engine: Engine | None
    entries: list[RuleEntry]
    capabilities: Mapping[str, frozenset[str]]


class Rulebook:
    """Keeps the rules in force. Broken ones leave those before in force and are reported in log and metrics."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._mark: tuple[Any, ...] = ()
        self._project = Project()
        self._project_layer: Layer | None = None
        self._model: Model | None = None
        self.broken = False

    def load(self, project: Project) -> Rules:
        """The rules for the first time. Raises RulesError for a broken folder; of a project whose rules are broken
        nothing is approved."""
        self._mark = self._fingerprint()
        self._project = project
        return self._read()

    def reload_if_changed(self, project: Project) -> Rules | None:
        """Changed rules, or None to go on with those in force."""
        try:
            mark = self._fingerprint()
            same = (project.rules, project.links) == (self._project.rules, self._project.links)
            if mark == self._mark and same:
                return None
            self._mark, self._project = mark, project
            rules = self._read()
        except (RulesError, OSError) as error:
            self._report(error)
            return None
        metrics.rules_reloads.labels("loaded").inc()
        log.info("rules reloaded", version=rules.version, rules=len(rules.entries))
        return rules

    def _fingerprint(self) -> tuple[Any, ...]:
        sources = self._sources
        marks = [fingerprint(sources.shipped)]
        if sources.organisation is not None:
            marks.append(fingerprint(sources.organisation))
        if sources.rego is not None:
            marks.append(fingerprint(sources.rego, "*.rego"))
        if sources.patterns is not None and sources.patterns.exists():
            status = sources.patterns.stat()
            marks.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(marks)

    def _read(self) -> Rules:
        sources = self._sources
        shipped = load_layer("shipped", sources.shipped)
        engine = self._load_engine()
        organisation = sources.organisation and load_layer(
            "organisation", sources.organisation, may_be_empty=True
        )
        distrust = ""
        try:
            project = read_project(self._project.rules) if self._project.rules else None
            rules = join_layers(shipped, organisation or None, project, engine.version if engine else "")
            self._project_layer, self.broken = project, False
        except RulesError as error:
            # Rules of the folders that are broken by themselves are raised from here.
            rules = join_layers(
                shipped, organisation or None, self._project_layer, engine.version if engine else ""
            )
            self._report(error)
            distrust = "" if self._project_layer else str(error).removesuffix(".")
        self._read_model()
        links = msgspec.json.encode(self._project.links, order="deterministic")
        model = self._model.version if self._model else ""
        state = hashlib.sha256(b"\0".join([links, distrust.encode(), model.encode()])).hexdigest()[:12]
        metrics.rules_loaded.set(rules.count)
        metrics.rules_broken.set(int(self.broken))
        return Rules(
            rules.version,
            f"{rules.version}:{state}",
            Judge(rules, sources.roots, self._project.links, distrust),
            self._model,
            engine,
            list_rules(rules),
            rules.capabilities,
        )

    def _load_engine(self) -> Engine | None:
        # Who has no policies in Rego does not load the interpreter.
        if self._sources.rego is not None:
            from .rego import InProcess  # noqa: PLC0415 - as said above

            return InProcess(self._sources.rego)
        if self._sources.rego_server is not None:
            from .rego import Server  # noqa: PLC0415 - as said above

            return Server(self._sources.rego_server)
        return None

    def _read_model(self) -> None:
        if self._sources.patterns is None:
            return
        try:
            self._model = read_model(self._sources.patterns)
        except ModelError as error:
            # It only refuses, so without it more goes to experts and nothing more is approved.
            metrics.tier_failures.labels("pattern").inc()
            log.error("patterns not loaded, their tier is left out", reason=str(error))
            self._model = None

    def _report(self, error: Exception) -> None:
        if not self.broken:
            metrics.rules_reloads.labels("failed").inc()
        metrics.rules_broken.set(1)
        self.broken = True
        log.error("rules not reloaded, older ones stay in force", reason=str(error))
