"""Rules as data: YAML files of a folder, checked when loaded, versioned by their content."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from .verdict import Decision, Risk

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9.-]{1,63}$")]
Sentence = Annotated[str, Meta(min_length=8, max_length=300, pattern=r"\.$")]
Option = Annotated[str, Meta(pattern=r"^(-[^-\s=]|--?[A-Za-z0-9][\w.:-]*|[!(),+])$")]
Access = Literal["any", "read", "write"]


class RulesError(ValueError):
    """The rules cannot be used; the message names file and cause."""


class _Data(msgspec.Struct, forbid_unknown_fields=True):
    pass


class When(_Data):
    """Conditions that must all hold for a rule to speak about a command."""

    # Any of these options is given.
    options: list[Option] = []
    # Any operand matches this regular expression completely.
    operand: str = ""
    # The command reads another's output.
    piped: bool | None = None
    # It has no operand.
    bare: bool | None = None


class CommandRule(_Data):
    """What is decided about a program, or about subcommands of it.

    An approving rule speaks only when every constraint holds: `allow` is a closed list of options, `deny` an
    open one; operands (after `patterns` that are not paths) are judged as paths that are read or written.
    """

    id: Id
    programs: Annotated[list[str], Meta(min_length=1)]
    decision: Literal["approve", "review", "block"]
    reason: Sentence
    risk: Literal["low", "medium", "high", "critical"] = "low"
    subcommands: list[str] = []
    when: When = msgspec.field(default_factory=When)
    allow: list[Option] | None = None
    deny: list[Option] = []
    # Options whose next word is their value, and options whose value is a path that is written.
    values: list[Option] = []
    writes: list[Option] = []
    # "gnu": -abc is three options; "single": -abc is one; "none": no word is an option.
    style: Literal["gnu", "single", "none"] = "gnu"
    operands: Access = "read"
    # The first `patterns` operands are no paths but match `pattern`; none of them are patterns when one of
    # `pattern_options` is given. Every other operand matches `operand`.
    patterns: int = 0
    pattern: str = ""
    pattern_options: list[Option] = []
    operand: str = ""
    max_operands: int | None = None
    # Whether words only the shell knows may be operands, or at least patterns for file names that begin with a
    # wildcard: they may become names that look like options.
    dynamic: bool = False
    globs: bool = False


class Program(_Data):
    """Options a program takes before its subcommand."""

    name: str
    allow: list[Option] = []
    values: list[Option] = []


class Wrapper(_Data):
    """A program that runs another one named in its arguments."""

    id: Id
    programs: Annotated[list[str], Meta(min_length=1)]
    # command: the words after options and `skip` operands; shell: the text after -c; words: all words joined;
    # exec: after -exec of find; module: after -m of python.
    kind: Literal["command", "shell", "words", "exec", "module"]
    allow: list[Option] = []
    values: list[Option] = []
    # With one of these first, nothing is run and the program is judged by rules.
    plain: list[Option] = []
    skip: int = 0
    assignments: bool = False
    # The program gets further arguments that nobody knows yet.
    appends: bool = False
    decision: Literal["approve", "review", "block"] = "approve"
    reason: Sentence = "The wrapped command is judged by itself."
    risk: Literal["low", "medium", "high", "critical"] = "low"


class ToolRule(_Data):
    """What is decided about a tool that is not a shell."""

    id: Id
    tools: Annotated[list[str], Meta(min_length=1)]
    access: Literal["none", "read", "write", "shell", "url"]
    reason: Sentence
    # Keys of the input that are judged; those in `required` must be there.
    keys: list[str] = []
    required: list[str] = []


class Paths(_Data):
    """Places by name; patterns match one path part, or several when they contain a slash."""

    project_roots: list[str] = []
    readable: list[str] = []
    writable: list[str] = []
    system: list[str] = []
    secret: list[str] = []
    protected: list[str] = []
    critical: list[str] = []


class Variables(_Data):
    """Regular expressions for whole names of variables."""

    settable: list[str] = []
    secret: list[str] = []


class RuleFile(_Data):
    """One file."""

    schema: Literal[1]
    rules: list[CommandRule] = []
    programs: list[Program] = []
    wrappers: list[Wrapper] = []
    tools: list[ToolRule] = []
    paths: Paths = msgspec.field(default_factory=Paths)
    variables: Variables = msgspec.field(default_factory=Variables)
    trusted_folders: list[str] = []


DECISIONS = {"approve": Decision.APPROVE, "review": Decision.REVIEW, "block": Decision.BLOCK}
RISKS = {risk.label: risk for risk in Risk}


class RuleSet:
    """All files together, indexed by program and tool."""

    def __init__(self, version: str, files: list[RuleFile]) -> None:
        self.version = version
        self.rules: dict[str, list[CommandRule]] = {}
        self.wrappers: dict[str, Wrapper] = {}
        self.programs = {program.name: program for file in files for program in file.programs}
        self.tools = {name: rule for file in files for rule in file.tools for name in rule.tools}
        for rule in (rule for file in files for rule in file.rules):
            for program in rule.programs:
                self.rules.setdefault(program, []).append(rule)
        for wrapper in (wrapper for file in files for wrapper in file.wrappers):
            self.wrappers.update(dict.fromkeys(wrapper.programs, wrapper))
        self.paths = Paths(
            **{
                field: [item for file in files for item in getattr(file.paths, field)]
                for field in Paths.__struct_fields__
            }
        )
        self.settable = _any_of([name for file in files for name in file.variables.settable])
        self.secret_variable = _any_of(
            [name for file in files for name in file.variables.secret], re.IGNORECASE
        )
        self.trusted_folders = tuple(folder for file in files for folder in file.trusted_folders)
        self.count = sum(len(file.rules) + len(file.wrappers) + len(file.tools) for file in files)


def fingerprint(folder: Path) -> tuple[Any, ...]:
    """Changes whenever a rule file may have changed; raises RulesError when the folder cannot be listed."""
    try:
        paths = sorted(folder.glob("*.yaml"))
        return tuple((path.name, *_mark(path)) for path in paths)
    except OSError as error:
        raise RulesError(f"The rules in {folder} cannot be listed ({error.strerror}).") from None


def load_rules(folder: Path) -> RuleSet:
    """Read and check every `*.yaml` of a folder; raises RulesError naming the file and what is wrong."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise RulesError(
            f"The folder {folder} has no rule file (*.yaml); mount one or set LIGHTHOUSE_RULES_DIR."
        )
    digest = hashlib.sha256()
    files = []
    for path in paths:
        try:
            content = path.read_bytes()
            file = _read_file(content)
        except (OSError, ValueError, yaml.YAMLError, re.error) as error:
            cause = " ".join(str(error).split())
            raise RulesError(f"The rule file {path} cannot be used: {cause}.") from None
        digest.update(f"{path.name}\0{len(content)}\0".encode() + content)
        files.append(file)
    _check_ids(files)
    return RuleSet(digest.hexdigest()[:12], files)


def _mark(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


class _Loader(yaml.CSafeLoader):
    """Refuses a key that is written twice, which YAML readers otherwise drop silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"the key {key!r} is written twice in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _read_file(content: bytes) -> RuleFile:
    # The loader extends the safe one.
    file = msgspec.convert(yaml.load(content, _Loader), RuleFile)  # noqa: S506 - a safe loader by another name
    for rule in file.rules:
        re.compile(rule.operand)
        re.compile(rule.pattern)
        re.compile(rule.when.operand)
        if rule.decision == "approve" and rule.allow is not None and rule.deny:
            raise ValueError(f"the rule {rule.id} has both 'allow' and 'deny'; keep one")
    for name in (*file.variables.settable, *file.variables.secret):
        re.compile(f"(?:{name})")
    return file


def _check_ids(files: list[RuleFile]) -> None:
    ids = [rule.id for file in files for rule in file.rules]
    ids += [wrapper.id for file in files for wrapper in file.wrappers]
    ids += [tool.id for file in files for tool in file.tools]
    for name in ids:
        if ids.count(name) > 1:
            raise RulesError(f"The rule id {name!r} is used twice; ids must be unique over all files.")
    tools = [name for file in files for tool in file.tools for name in tool.tools]
    wrapped = [name for file in files for wrapper in file.wrappers for name in wrapper.programs]
    for name in (*tools, *wrapped):
        if tools.count(name) + wrapped.count(name) > 1:
            raise RulesError(f"{name!r} is listed by two tools or wrappers; list it once.")


def _any_of(patterns: list[str], flags: int = 0) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)", flags)
