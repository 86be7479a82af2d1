"""A command's words sorted into options, their values, and operands, the way its program would."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .syntax import Word

_OPTION = re.compile(r"--?[A-Za-z]")
Style = Literal["gnu", "single", "none"]


@dataclass(slots=True)
class Arguments:
    """Sorted words. `values` pairs an option with its value; `uncertain` may be options or operands."""

    options: list[str] = field(default_factory=list)
    values: list[tuple[str, Word | str]] = field(default_factory=list)
    operands: list[Word] = field(default_factory=list)
    uncertain: list[Word] = field(default_factory=list)


def sort_arguments(
    words: Iterable[Word],
    values: Collection[str],
    style: Style,
    texts: Collection[str] = (),
    prefixes: Collection[str] = (),
) -> Arguments:
    """Sort words; `values` are the options whose next word, if not attached, is their value; that of `texts` may be
    known to the shell alone, as long as it is one word; that of `prefixes` is always attached."""
    sorted_ = Arguments()
    rest = list(words)
    position = 0
    while position < len(rest):
        word = rest[position]
        position += 1
        text = word.text
        if word.dynamic or (word.globbed and text[:1] in "*?["):
            sorted_.uncertain.append(word)
            sorted_.operands.append(word)
        elif style == "none" or not text.startswith("-") or text == "-":
            sorted_.operands.append(word)
        elif text == "--":
            sorted_.operands += rest[position:]
            sorted_.uncertain += [later for later in rest[position:] if later.dynamic]
            break
        elif prefixes and (prefix := next((p for p in prefixes if text.startswith(p) and text != p), "")):
            sorted_.options.append(prefix)
            sorted_.values.append((prefix, text.removeprefix(prefix)))
        else:
            wanting = _take_option(text, values, style, sorted_)
            if wanting and position < len(rest):
                sorted_.values.append((wanting, rest[position]))
                if rest[position].dynamic and not (wanting in texts and rest[position].single):
                    sorted_.uncertain.append(rest[position])
                # Where a value may be left out, a program takes this for another option.
                if style == "gnu" and wanting not in texts and _OPTION.match(rest[position].text):
                    _take_option(rest[position].text, (), style, sorted_)
                position += 1
    return sorted_


def _take_option(text: str, values: Collection[str], style: Style, sorted_: Arguments) -> str:
    """Note one option word; returns the option that wants the next word, or an empty text."""
    if style == "single" or text.startswith("--"):
        name, has_value, value = text.partition("=")
        if style == "single" and name.startswith("--"):
            name = name[1:]
        sorted_.options.append(name)
        if has_value:
            sorted_.values.append((name, value))
            return ""
        return name if name in values else ""
    for index, letter in enumerate(text[1:], 1):
        name = f"-{letter}"
        if letter.isdigit():
            name = "-0"
        sorted_.options.append(name)
        attached = text[index + 1 :]
        if name in values:
            if not attached:
                return name
            sorted_.values.append((name, attached.removeprefix("=")))
            return ""
        if "/" in attached[:1] or "~" in attached[:1]:
            sorted_.values.append((name, attached))
            return ""
    return ""


def is_denied(option: str, denied: Collection[str], style: Style) -> bool:
    """Whether an option is one of `denied`, also as an abbreviation of a long one."""
    if option in denied:
        return True
    return (
        style == "gnu"
        and option.startswith("--")
        and any(long.startswith(option) for long in denied if long.startswith("--"))
    )
