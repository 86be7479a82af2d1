"""Programs that run other programs: what they would run, as commands to judge."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, TypeGuard

from .syntax import Assignment, Command, Word

if TYPE_CHECKING:
    from .rules import Wrapper

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_UNKNOWN = Word("…", "", dynamic=True)
_NAMING = frozenset({"-name", "-iname", "-path", "-ipath", "-wholename"})
# Any name at all, also of a file that begins with a dot.
_ANYTHING = "./.*"
_PRINTS_OTHERWISE = frozenset({"-printf", "-exec", "-execdir", "-ok", "-okdir", "-ls"})


class UnwrapError(ValueError):
    """It is not clear what would run; the message completes "…, because …"."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a wrapper runs: commands, texts to parse as shell, variables it sets, and what is left to judge
    of the wrapper itself (None: nothing)."""

    commands: tuple[Command, ...] = ()
    scripts: tuple[str, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    remainder: Command | None = None


def unwrap(wrapper: Wrapper, command: Command) -> Unwrapped:
    """What `command`, a call of `wrapper`, would run; raises UnwrapError."""
    first = command.arguments[0].text if command.arguments else ""
    if first in wrapper.plain or (wrapper.subcommands and first not in wrapper.subcommands):
        return Unwrapped(remainder=command)
    if wrapper.subcommands:
        command = replace(command, arguments=command.arguments[1:])
    if wrapper.kind == "words":
        if any(word.dynamic for word in command.arguments):
            raise UnwrapError("its text is only known when the shell runs")
        return Unwrapped(scripts=(" ".join(word.text for word in command.arguments),))
    if wrapper.kind == "exec":
        return _unwrap_exec(command)
    if wrapper.kind == "module":
        return _unwrap_module(wrapper, command)
    if wrapper.kind == "shell":
        return _unwrap_shell(wrapper, command)
    return _unwrap_command(wrapper, command)


def _skip_options(wrapper: Wrapper, words: tuple[Word, ...], stop: str = "") -> int:
    """The position after the wrapper's own options; `stop` ends them and is not passed."""
    position = 0
    while position < len(words):
        word = words[position]
        if word.dynamic or not word.text.startswith("-") or word.text == "-":
            break
        if word.text == "--":
            return position + 1
        if stop and word.text == stop:
            break
        position += _option_width(wrapper, word.text)
    return position


def _option_width(wrapper: Wrapper, text: str) -> int:
    """How many words an option takes, itself included."""
    name, has_value, _ = text.partition("=")
    if name in wrapper.values:
        return 1 if has_value else 2
    attached = name[:2] in wrapper.values
    cluster = all(f"-{letter}" in wrapper.allow for letter in name[1:])
    if name in wrapper.allow or (not name.startswith("--") and (attached or cluster)):
        return 1
    raise UnwrapError(f"its option {name!r} is not known as safe")


def _unwrap_command(wrapper: Wrapper, command: Command) -> Unwrapped:
    words = command.arguments
    position = _skip_options(wrapper, words)
    skipped = words[position : position + wrapper.skip]
    if any(word.dynamic or word.text.startswith("-") for word in skipped):
        raise UnwrapError("its arguments are only known when the shell runs")
    position += wrapper.skip
    assignments: list[Assignment] = []
    while wrapper.assignments and position < len(words):
        matched = _ASSIGNMENT.fullmatch(words[position].text)
        if matched is None:
            break
        word = words[position]
        value = Word(word.raw, matched.group(2), word.dynamic, word.globbed, word.variables)
        assignments.append(Assignment(word.raw, matched.group(1), value))
        position += 1
    if position >= len(words):
        raise UnwrapError("it names no command to run")
    name, *rest = words[position:]
    if wrapper.appends:
        rest.append(_found(command.source) if _lists_found(command.source) else _UNKNOWN)
    raw = " ".join(word.raw for word in words[position:])
    inner = Command(raw, name, tuple(rest), command.piped, command.source)
    return Unwrapped(commands=(inner,), assignments=tuple(assignments))


def _unwrap_shell(wrapper: Wrapper, command: Command) -> Unwrapped:
    words = command.arguments
    position = 0
    while position < len(words):
        word = words[position]
        if word.dynamic or not word.text.startswith("-"):
            break
        # -c may stand at the end of a cluster, such as -ec.
        if not word.text.startswith("--") and word.text.endswith("c"):
            flags = word.text[1:-1]
            if any(f"-{flag}" not in wrapper.allow for flag in flags) or position + 1 >= len(words):
                raise UnwrapError(f"its option {word.text!r} is not known as safe")
            script = words[position + 1]
            if script.dynamic or script.globbed:
                raise UnwrapError("its text is only known when the shell runs")
            return Unwrapped(scripts=(script.text,))
        if word.text not in wrapper.allow:
            raise UnwrapError(f"its option {word.text!r} is not known as safe")
        position += 1
    return Unwrapped(remainder=command)


def _unwrap_module(wrapper: Wrapper, command: Command) -> Unwrapped:
    words = command.arguments
    position = 0
    while position < len(words) and not words[position].dynamic:
        text = words[position].text
        if text == "-m":
            if position + 1 >= len(words):
                break
            name = words[position + 1]
            module = Word(name.raw, f"python:{name.text}", name.dynamic, name.globbed)
            return Unwrapped(commands=(Command(command.raw, module, words[position + 2 :], command.piped),))
        if text in wrapper.values:
            position += 2
        elif text in wrapper.allow:
            position += 1
        else:
            break
    return Unwrapped(remainder=command)


def _found(find: Command) -> Word:
    """A name that find prints or fills in: it begins with one of the places find was told to search, and it may
    be that of any file there unless find goes by name."""
    words = [word.text for word in find.arguments]
    named = [text for option, text in pairwise(words) if option in _NAMING]
    places = [text for text in takewhile(lambda text: text[:1] not in {"-", "(", "!"}, words) if text]
    if named:
        return Word("…", f"./{named[0].removeprefix('./')}", globbed=True)
    anywhere = not places or any(place.rstrip("/") in {"", ".", ".."} for place in places)
    return Word("…", _ANYTHING if anywhere else "./found", globbed=anywhere)


def _fill(word: Word, found: Word) -> Word:
    if word.text == "{}":
        return found
    return _UNKNOWN if "{}" in word.text else word


def _lists_found(source: Command | None) -> TypeGuard[Command]:
    """Whether a command is a find that prints nothing but what it found."""
    return (
        source is not None
        and source.name.text == "find"
        and not any(word.dynamic or word.text in _PRINTS_OTHERWISE for word in source.arguments)
    )


def _unwrap_exec(command: Command) -> Unwrapped:
    remainder: list[Word] = []
    commands: list[Command] = []
    words = list(command.arguments)
    found = _found(command)
    while words:
        word = words.pop(0)
        if word.dynamic or word.text not in {"-exec", "-execdir", "-ok", "-okdir"}:
            remainder.append(word)
            continue
        inner: list[Word] = []
        while words and words[0].text not in {";", "+"}:
            inner.append(words.pop(0))
        if not words or not inner:
            raise UnwrapError("its -exec has no command or no end")
        words.pop(0)
        filled = [_fill(part, found) for part in inner]
        raw = " ".join(part.raw for part in inner)
        commands.append(Command(raw, filled[0], tuple(filled[1:])))
    rest = Command(command.raw, command.name, tuple(remainder), command.piped)
    return Unwrapped(commands=tuple(commands), remainder=rest)
