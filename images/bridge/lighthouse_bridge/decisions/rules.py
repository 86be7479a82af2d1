"""Rules as data: YAML files of a folder, checked when loaded, versioned by their content."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from .costs import is_exponential
from .verdict import Decision, Risk

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SCHEMA = 1
Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9.-]{1,63}$")]
Sentence = Annotated[str, Meta(min_length=8, max_length=300, pattern=r"\.$")]
Option = Annotated[str, Meta(pattern=r"^(-[^-\s=]|--?[A-Za-z0-9][\w.:-]*|[!(),+])$")]
Access = Literal["any", "read", "write", "enter", "copy"]


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
    # It searches for text that this regular expression matches completely: the value of -e or the first operand.
    pattern: str = ""
    # With `pattern`: it searches the project's root and no named folders or files, and none of the options
    # `without` is given.
    rooted: bool | None = None
    without: list[Option] = []


class CommandRule(_Data):
    """What is decided about a program, or about subcommands of it.

    An approving rule speaks only when every constraint holds: `allow` is a closed list of options, `deny` an
    open one; operands (after `patterns` that are not paths) are judged as paths that are read, written or entered, or
    as files of which the last gets the others' content or is the folder they come to.
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
    # Options whose value is a text for people: any one word, also one that only the shell knows.
    texts: list[Option] = []
    # Options whose value is attached without a sign, such as -Iinclude in the style "single".
    prefixes: list[Option] = []
    # "gnu": -abc is three options; "single": -abc is one; "none": no word is an option.
    style: Literal["gnu", "single", "none"] = "gnu"
    operands: Access = "read"
    # The first `patterns` operands are no paths but match `pattern`; none of them are patterns when one of
    # `pattern_options` is given, whose value matches `pattern` then. Every other operand matches `operand`.
    patterns: int = 0
    pattern: str = ""
    pattern_options: list[Option] = []
    operand: str = ""
    min_operands: int = 0
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
    # Options whose value is the folder it works in.
    folders: list[Option] = []


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
    # Only after one of these it runs another program; without it, it is judged by rules.
    subcommands: list[str] = []
    assignments: bool = False
    # Options whose value is the folder the command runs in.
    folders: list[Option] = []
    # The program gets further arguments that nobody knows yet.
    appends: bool = False
    # Options whose value stands for such an argument, wherever it occurs.
    replaces: list[Option] = []
    decision: Literal["approve", "review", "block"] = "approve"
    reason: Sentence = "The wrapped command is judged by itself."
    risk: Literal["low", "medium", "high", "critical"] = "low"


class ToolRule(_Data):
    """What is decided about a tool that is not a shell."""

    id: Id
    tools: Annotated[list[str], Meta(min_length=1)]
    access: Literal["none", "read", "write", "shell", "url"]
    reason: Sentence
    # Keys of the input that are judged; those in `required` must be there. `contents` are texts that are written.
    keys: list[str] = []
    required: list[str] = []
    contents: list[str] = []
    # Keys that name the folder a shell works in, from the project's root.
    folders: list[str] = []


class ContentRule(_Data):
    """What is decided about text that a tool would write, when `pattern` is found in it."""

    id: Id
    pattern: Annotated[str, Meta(min_length=1)]
    decision: Literal["review", "block"]
    reason: Sentence
    risk: Literal["medium", "high", "critical"] = "high"


class Judges(_Data):
    """Which capabilities an expert needs, one of them at least, to be asked about calls of a tool; `*` stands
    for tools that are not listed."""

    tools: Annotated[list[str], Meta(min_length=1)]
    capabilities: Annotated[list[str], Meta(min_length=1)]


class Paths(_Data):
    """Places by name; patterns match one path part, or several when they contain a slash, and from the root when
    they begin with one."""

    project_roots: list[str] = []
    readable: list[str] = []
    writable: list[str] = []
    system: list[str] = []
    secret: list[str] = []
    # Names that look like `secret` and are not.
    public: list[str] = []
    protected: list[str] = []
    # Folders that tools fill: what lies in them is reviewed before it is written.
    generated: list[str] = []
    critical: list[str] = []


class Variables(_Data):
    """Regular expressions for whole names of variables."""

    settable: list[str] = []
    # Settable when the value is folders of the project.
    folders: list[str] = []
    # NAME=value as a whole: settable to this value.
    valued: list[str] = []
    secret: list[str] = []


class RuleFile(_Data):
    """One file."""

    schema: Literal[1]
    rules: list[CommandRule] = []
    programs: list[Program] = []
    wrappers: list[Wrapper] = []
    tools: list[ToolRule] = []
    contents: list[ContentRule] = []
    judges: list[Judges] = []
    paths: Paths = msgspec.field(default_factory=Paths)
    variables: Variables = msgspec.field(default_factory=Variables)
    trusted_folders: list[str] = []


DECISIONS = {"approve": Decision.APPROVE, "review": Decision.REVIEW, "block": Decision.BLOCK}
RISKS = {risk.label: risk for risk in Risk}


class Layer(msgspec.Struct, frozen=True):
    """Rule files of one origin: `shipped`, `organisation` or `project`; `version` is made of their content."""

    name: str
    version: str
    files: tuple[RuleFile, ...]


class RuleSet:
    """The rules of all layers together, indexed by program and tool. Raises RulesError for ids used twice."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        files = [file for layer in layers for file in layer.files]
        _check_ids(files)
        self.layers = tuple(layers)
        self.version = _digest([f"{layer.name}:{layer.version}".encode() for layer in layers])
        self.rules: dict[str, list[CommandRule]] = {}
        self.wrappers: dict[str, Wrapper] = {}
        self.programs = {program.name: program for file in files for program in file.programs}
        self.tools = {name: rule for file in files for rule in file.tools for name in rule.tools}
        for rule in (rule for file in files for rule in file.rules):
            for program in rule.programs:
                self.rules.setdefault(program, []).append(rule)
        for wrapper in (wrapper for file in files for wrapper in file.wrappers):
            self.wrappers.update(dict.fromkeys(wrapper.programs, wrapper))
        self.contents = [(rule, re.compile(rule.pattern)) for file in files for rule in file.contents]
        self.paths = Paths(
            **{
                field: [item for file in files for item in getattr(file.paths, field)]
                for field in Paths.__struct_fields__
            }
        )
        self.settable = _any_of([name for file in files for name in file.variables.settable])
        self.folder_variable = _any_of([name for file in files for name in file.variables.folders])
        self.valued = _any_of([text for file in files for text in file.variables.valued])
        self.secret_variable = _any_of(
            [name for file in files for name in file.variables.secret], re.IGNORECASE
        )
        self.trusted_folders = tuple(folder for file in files for folder in file.trusted_folders)
        self.capabilities: dict[str, frozenset[str]] = {}
        for entry in (entry for file in files for entry in file.judges):
            for tool in entry.tools:
                self.capabilities[tool] = self.capabilities.get(tool, frozenset()) | set(entry.capabilities)
        self.count = sum(len(_ids(file)) for file in files)
        self._origins = {name: layer for layer in layers for file in layer.files for name in _ids(file)}
        self._places = {
            (field, pattern): layer
            for layer in reversed(layers)
            for file in layer.files
            for field in Paths.__struct_fields__
            for pattern in getattr(file.paths, field)
        }

    def origin(self, rule_id: str, pattern: str = "") -> str:
        """The layer that a decision comes from: that of a rule, or, for a rule about places such as
        `path.secret`, that of the pattern; `built-in` for what the judge itself decides."""
        kind, _, field = rule_id.partition(".")
        layer = self._places.get((field, pattern)) if kind == "path" else self._origins.get(rule_id)
        return layer.name if layer else "built-in"


def fingerprint(folder: Path, files: str = "*.yaml") -> tuple[Any, ...]:
    """Changes whenever a rule file may have changed; raises RulesError when the folder cannot be listed."""
    try:
        paths = sorted(folder.glob(files))
        return tuple((path.name, *_mark(path)) for path in paths)
    except OSError as error:
        raise RulesError(f"The rules in {folder} cannot be listed ({error.strerror}).") from None


def load_rules(folder: Path) -> RuleSet:
    """The rules of one folder as the shipped layer; raises RulesError when there are none or one is wrong."""
    return RuleSet([load_layer("shipped", folder)])


def load_layer(name: str, folder: Path, *, may_be_empty: bool = False) -> Layer:
    """Read and check every `*.yaml` of a folder; raises RulesError naming the file and what is wrong."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths and not may_be_empty:
        raise RulesError(
            f"The folder {folder} has no rule file (*.yaml); mount one or set LIGHTHOUSE_RULES_DIR."
        )
    contents: dict[str, bytes] = {}
    for path in paths:
        try:
            contents[str(path)] = path.read_bytes()
        except OSError as error:
            raise RulesError(f"The rule file {path} cannot be read ({error.strerror}).") from None
    return read_layer(name, contents)


def read_layer(name: str, contents: Mapping[str, bytes]) -> Layer:
    """Check rule files given as path and content; raises RulesError naming the file and what is wrong."""
    files = []
    for path, content in contents.items():
        try:
            files.append(_read_file(content))
        except (ValueError, yaml.YAMLError, re.error) as error:
            cause = " ".join(str(error).split())
            raise RulesError(f"The rule file {path} cannot be used: {cause}.") from None
    version = _digest([part for path, content in contents.items() for part in (path.encode(), content)])
    return Layer(name, version, tuple(files))


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode() + part)
    return digest.hexdigest()[:12]


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


def _check_cost(file: RuleFile) -> None:
    expressions = [
        (rule.id, text)
        for rule in file.rules
        for text in (rule.operand, rule.pattern, rule.when.operand, rule.when.pattern)
    ]
    expressions += [(rule.id, rule.pattern) for rule in file.contents]
    expressions += [("variables", name) for name in _names(file)]
    for name, text in expressions:
        if is_exponential(text):
            raise ValueError(
                f"{name} has the pattern {text!r}, which can take for ever because two of its repeats match the "
                "same text; write it without a repeat inside a repeat"
            )


def _read_file(content: bytes) -> RuleFile:
    # The loader extends the safe one.
    file = msgspec.convert(yaml.load(content, _Loader), RuleFile)  # noqa: S506 - a safe loader by another name
    for rule in file.rules:
        re.compile(rule.operand)
        re.compile(rule.pattern)
        re.compile(rule.when.operand)
        re.compile(rule.when.pattern)
        if rule.decision == "approve" and rule.allow is not None and rule.deny:
            raise ValueError(f"the rule {rule.id} has both 'allow' and 'deny'; keep one")
    refusals: list[CommandRule | Wrapper | ContentRule] = [*file.rules, *file.wrappers, *file.contents]
    for refusal in refusals:
        if refusal.decision != "approve" and "; " not in refusal.reason:
            raise ValueError(
                f"the rule {refusal.id} does not say what to do instead; write its reason as 'Why; what to do.'"
            )
    for content_rule in file.contents:
        re.compile(content_rule.pattern)
    for name in _names(file):
        re.compile(f"(?:{name})")
    _check_cost(file)
    return file


def _names(file: RuleFile) -> list[str]:
    """The expressions for variables."""
    given = file.variables
    return [*given.settable, *given.folders, *given.valued, *given.secret]


def _ids(file: RuleFile) -> list[str]:
    named: list[CommandRule | Wrapper | ToolRule | ContentRule] = [
        *file.rules,
        *file.wrappers,
        *file.tools,
        *file.contents,
    ]
    return [rule.id for rule in named]


def _check_ids(files: list[RuleFile]) -> None:
    ids = [name for file in files for name in _ids(file)]
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
