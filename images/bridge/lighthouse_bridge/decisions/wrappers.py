"""Programs that run other programs: what they would run, as commands to judge."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .finds import list_found, list_printed
from .syntax import Assignment, Command, Word

if TYPE_CHECKING:
    from .rules import Wrapper

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_UNKNOWN = Word("…", "", dynamic=True)


class UnwrapError(ValueError):
    """It is not clear what would run; the message completes "…, because …"."""


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """What a wrapper runs: commands, those that run in folders nobody knows, texts to parse as shell, variables it
    sets, the folder it enters before, and what is left to judge of the wrapper itself (None: nothing)."""

    commands: tuple[Command, ...] = ()
    elsewhere: tuple[Command, ...] = ()
    scripts: tuple[str, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    folder: Word | None = None
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


def _skip_options(wrapper: Wrapper, words: tuple[Word, ...]) -> tuple[int, Word | None]:
    """The position after the wrapper's own options, and the folder they tell it to enter."""
    position = 0
    folder: Word | None = None
    while position < len(words):
        word = words[position]
        if word.dynamic or not word.text.startswith("-") or word.text == "-":
            break
        if word.text == "--":
            return position + 1, folder
        name, has_value, value = word.text.partition("=")
        if name in wrapper.folders:
            if folder is not None or (not has_value and position + 1 >= len(words)):
                raise UnwrapError("it names several folders or none")
            folder = Word(word.raw, value) if has_value else words[position + 1]
            position += 1 if has_value else 2
            continue
        position += _option_width(wrapper, word.text)
    return position, folder


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
    position, folder = _skip_options(wrapper, words)
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
    places = _read_placeholders(wrapper, words[:position])
    if places:
        name, *rest = [_UNKNOWN if any(p in word.text for p in places) else word for word in (name, *rest)]
    elif wrapper.appends:
        rest += list_printed(command.source) or (_UNKNOWN,)
    raw = " ".join(word.raw for word in words[position:])
    inner = Command(raw, name, tuple(rest), command.piped, command.source)
    return Unwrapped(commands=(inner,), assignments=tuple(assignments), folder=folder)


def _read_placeholders(wrapper: Wrapper, words: tuple[Word, ...]) -> list[str]:
    """The texts that may stand for an argument nobody knows yet, such as {} after -I."""
    found = []
    for position, word in enumerate(words):
        for option in wrapper.replaces:
            if word.text == option:
                found += [following.text for following in words[position + 1 : position + 2]]
            elif word.text.startswith(option):
                found.append(word.text.removeprefix(option))
    return found


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


def _fill(word: Word, found: tuple[Word, ...]) -> tuple[Word, ...]:
    if word.text == "{}":
        return found
    return (_UNKNOWN,) if "{}" in word.text else (word,)


def _unwrap_exec(command: Command) -> Unwrapped:
    remainder: list[Word] = []
    commands: list[Command] = []
    elsewhere: list[Command] = []
    words = list(command.arguments)
    everything = [word.text for word in words]
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
        found = list_found(everything, [part.text for part in remainder])
        filled = [one for part in inner for one in _fill(part, found)]
        ran = Command(" ".join(part.raw for part in inner), filled[0], tuple(filled[1:]))
        (elsewhere if word.text.endswith("dir") else commands).append(ran)
    rest = Command(command.raw, command.name, tuple(remainder), command.piped)
    return Unwrapped(commands=tuple(commands), elsewhere=tuple(elsewhere), remainder=rest)
