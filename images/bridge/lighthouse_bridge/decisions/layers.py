"""Layers of rules: what is shipped, what the organisation adds, and what a project adds to be stricter."""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING

from .rules import Layer, RulesError, RuleSet, read_layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .rules import RuleFile

PROJECT_FOLDER = ".lighthouse/rules/"
MAX_PROJECT_FILES = 50
MAX_PROJECT_BYTES = 256 * 1024
# What a project may name that only restricts.
_PROJECT_PATHS = ("system", "secret", "protected", "generated", "critical")
_MAX_REPEATS = 2
_REPEAT = re.compile(r"(?<!\\)[*+]|(?<!\\)\{\d*,\d*\}")
_REPEATED_GROUP = re.compile(r"\)[*+{]")


def read_project(contents: Mapping[str, bytes]) -> Layer:
    """The project's own layer, from files of its tree by path; raises RulesError for anything but more caution:
    who writes the project must not be able to loosen what it is held by."""
    size = sum(map(len, contents.values()))
    if len(contents) > MAX_PROJECT_FILES or size > MAX_PROJECT_BYTES:
        raise RulesError(
            f"The project's rules in {PROJECT_FOLDER} are {len(contents)} files of {size} bytes; keep to "
            f"{MAX_PROJECT_FILES} files and {MAX_PROJECT_BYTES} bytes."
        )
    layer = read_layer("project", contents)
    for path, file in zip(contents, layer.files, strict=True):
        problem = next(chain(_loosenings(file), _costly_patterns(file)), "")
        if problem:
            raise RulesError(
                f"The project's rule file {path} {problem}; a project may only be stricter, and quick."
            )
    return layer


def join_layers(
    shipped: Layer, organisation: Layer | None, project: Layer | None, rego_version: str = ""
) -> RuleSet:
    """The rules in force. A call is decided by the most restrictive of all rules about it, whatever their layer;
    policies in Rego are a layer without files here. Raises RulesError when two layers use the same id."""
    rego = Layer("rego", rego_version, ()) if rego_version else None
    return RuleSet([layer for layer in (shipped, organisation, project, rego) if layer is not None])


def _loosenings(file: RuleFile) -> Iterator[str]:
    for part in ("programs", "wrappers", "tools", "judges", "trusted_folders"):
        if getattr(file, part):
            yield f"has {part!r}"
    if file.variables.settable or file.variables.folders:
        yield "has variables that may be set"
    for field in file.paths.__struct_fields__:
        if getattr(file.paths, field) and field not in _PROJECT_PATHS:
            yield f"has paths that are {field!r}"
    for rule in file.rules:
        if rule.decision == "approve":
            yield f"approves with the rule {rule.id!r}"
        elif rule.risk == "low":
            yield f"calls the risk of {rule.id!r} low, below that of an unknown command"


def _costly_patterns(file: RuleFile) -> Iterator[str]:
    patterns = [(rule.id, text) for rule in file.rules for text in (rule.when.operand, rule.when.pattern)]
    patterns += [(rule.id, rule.pattern) for rule in file.contents]
    for name, text in patterns:
        if _is_costly(text):
            yield f"has in {name!r} the pattern {text!r}, which repeats too much to be searched quickly"


def _is_costly(pattern: str) -> bool:
    """Whether a regular expression may take more than quadratic time."""
    return bool(_REPEATED_GROUP.search(pattern)) or len(_REPEAT.findall(pattern)) > _MAX_REPEATS
