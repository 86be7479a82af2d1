"""The typed tree of a shell script, reduced to what a judgement needs: its parts, wherever they are nested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the program would get it. `text` is its value unless `dynamic`: then only the shell knows.

    `globbed` is true when unquoted `*`, `?` or `[` make it a pattern for file names; `single` when it is one word
    whatever the shell puts in it.
    """

    raw: str
    text: str
    dynamic: bool = False
    globbed: bool = False
    variables: tuple[str, ...] = ()
    single: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments; `piped` when it reads another's output, of `source` if that is one command."""

    raw: str
    name: Word
    arguments: tuple[Word, ...]
    piped: bool = False
    source: Command | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirection of a file: `operator` as written, such as `>`, `>>` or `<`."""

    raw: str
    operator: str
    target: Word


@dataclass(frozen=True, slots=True)
class Assignment:
    """A variable that is set, for one command or for what follows."""

    raw: str
    name: str
    value: Word | None


@dataclass(frozen=True, slots=True)
class Opaque:
    """Syntax that is not judged; `reason` completes "this needs review, because it …"."""

    raw: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """Parts that run together, by `kind`: one after another, the second if the first succeeded or failed, negated,
    piped, in a shell of their own, some of several branches, or again and again."""

    kind: Literal["sequence", "and", "or", "not", "pipe", "subshell", "branch", "loop"]
    parts: tuple[Part, ...]


Part = Command | Redirect | Assignment | Opaque | Block


def walk(parts: Iterable[Part]) -> Iterator[Command | Redirect | Assignment | Opaque]:
    """Every part that is no block, in the order of the text."""
    for part in parts:
        if isinstance(part, Block):
            yield from walk(part.parts)
        else:
            yield part
