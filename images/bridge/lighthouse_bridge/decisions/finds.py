"""What `find` may find: the names that the command it runs, or the one that reads its output, gets. Pure."""

from __future__ import annotations

import posixpath
import re
from itertools import takewhile
from typing import TYPE_CHECKING

from .syntax import Word

if TYPE_CHECKING:
    from .syntax import Command

_NAMING = frozenset({"-name", "-iname", "-path", "-ipath", "-wholename"})
_WHOLE = frozenset({"-path", "-ipath", "-wholename"})
_OTHERWISE = frozenset({"-o", "-or", ","})
_NOT = frozenset({"!", "-not"})
_PRINTING = frozenset({"-print", "-print0"})
_PRINTS_OTHERWISE = frozenset({"-printf", "-exec", "-execdir", "-ok", "-okdir", "-ls"})
_WILDCARDS = re.compile(r"\[[^]]*\]|[*?]")
# Less than this beside wildcards names nothing.
_MIN_AIM = 2


def list_printed(source: Command | None) -> tuple[Word, ...] | None:
    """The names a command prints; None unless it is a find that prints nothing else."""
    if source is None or source.name.text != "find":
        return None
    words = [word.text for word in source.arguments]
    if any(word.dynamic or word.text in _PRINTS_OTHERWISE for word in source.arguments):
        return None
    return list_found(words, list(takewhile(lambda text: text not in _PRINTING, words)))


def list_found(words: list[str], tests: list[str]) -> tuple[Word, ...]:
    """The names of what find finds: they begin with one of the places that `words` tell it to search, and may be
    any there unless all `tests` before go by name."""
    places = [text for text in takewhile(lambda text: text[:1] not in {"-", "(", "!"}, words) if text] or [
        "."
    ]
    names = _read_names(tests)
    if not names:
        return tuple(_anything(place) for place in places)
    found = [Word("…", pattern, globbed=True) for option, pattern in names if option in _WHOLE]
    found += [
        Word("…", f"{place}/{pattern}", globbed=True)
        for place in places
        for option, pattern in names
        if option not in _WHOLE
    ]
    return tuple(found)


def _anything(place: str) -> Word:
    """Any name in a place; in the project's root it may be one that begins with a dot."""
    normal = posixpath.normpath(place)
    anywhere = normal == "." or normal.startswith(("..", "/", "~"))
    return Word("…", f"{place}/.*" if anywhere else f"{place}/found", globbed=anywhere)


def _read_names(tests: list[str]) -> list[tuple[str, str]]:
    """The naming tests one of which every find passes; none when one may pass without."""
    names: list[tuple[str, str]] = []
    named = False
    for position, text in enumerate(tests):
        before, after = tests[position - 1 : position], tests[position + 1 : position + 2]
        if text in _OTHERWISE:
            if not named:
                return []
            named = False
        elif text in _NOT and after == ["("]:
            return []
        elif text in _NAMING and after and not _NOT.intersection(before) and _aims(after[0]):
            names.append((text, after[0]))
            named = True
    return names if named else []


def _aims(pattern: str) -> bool:
    return len(_WILDCARDS.sub("", pattern).removeprefix("./")) >= _MIN_AIM
