"""Whether a regular expression may take exponential time: whether a text can be matched by its loops in two ways.

The expression becomes a position automaton (Glushkov); it is exponential when two paths over the same text lead from
a position back to it (Weber and Seidl, "On the degree of ambiguity of finite automata", 1991). What stands behind
look-arounds and references back is read more widely than it is, so an expression may be refused in vain.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

_Node = TypeVar("_Node", bound="Hashable")
# Characters are ASCII and one that stands for all others.
_OTHER = 128
_ALL = (1 << (_OTHER + 1)) - 1
# Repeats of up to so many times are written out, others count as endless.
_WRITTEN_OUT = 3
# Expressions with more positions are refused: nobody reads them either.
MAX_POSITIONS = 1500
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_SPACE": r"\s", "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip


@cache
def is_exponential(pattern: str) -> bool:
    """Whether the time to match may double with every character; true for what is too large to tell."""
    parsed = re._parser.parse(pattern)  # the module has no public parser
    reader = _Reader(ignore_case=bool(parsed.state.flags & re.IGNORECASE))
    try:
        reader.sequence(parsed)
    except OverflowError:
        return True
    return reader.is_ambiguous()


@dataclass
class _Piece:
    """A part of the expression: the positions it may begin and end at, and whether it may be empty."""

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    empty: bool = True


class _Reader:
    def __init__(self, *, ignore_case: bool) -> None:
        self._ignore_case = ignore_case
        self._sets: list[int] = []
        self._follow: Counter[tuple[int, int]] = Counter()
        self._counts_nothing = False

    def sequence(self, items: Iterable[Any]) -> _Piece:
        whole = _Piece()
        for operator, value in items:
            whole = self._join(whole, self._read(str(operator), value))
        return whole

    def _read(self, operator: str, value: Any) -> _Piece:
        match operator:
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                piece = self._repeat(*value)
            case "SUBPATTERN":
                piece = self.sequence(value[-1])
            case "ATOMIC_GROUP":
                piece = self.sequence(value)
            case "BRANCH":
                piece = self._either([self.sequence(branch) for branch in value[1]])
            case "GROUPREF_EXISTS":
                piece = self._either([self.sequence(branch or ()) for branch in value[1:]])
            case "ASSERT" | "ASSERT_NOT":
                self.sequence(value[1])
                piece = _Piece()
            case "AT":
                piece = _Piece()
            case _:
                piece = self._position(_characters(operator, value))
        return piece

    def _position(self, characters: int) -> _Piece:
        number = len(self._sets)
        if number >= MAX_POSITIONS:
            raise OverflowError
        self._sets.append(_fold(characters) if self._ignore_case else characters)
        return _Piece([number], [number], empty=False)

    def _repeat(self, low: int, high: Any, items: Iterable[Any]) -> _Piece:
        endless = high is re._parser.MAXREPEAT
        count = _WRITTEN_OUT + 1 if endless else int(high)
        if count <= _WRITTEN_OUT:
            whole = _Piece()
            for number in range(count):
                piece = self.sequence(items)
                piece.empty = piece.empty or number >= low
                whole = self._join(whole, piece)
            return whole
        piece = self.sequence(items)
        # Which rounds of a counted repeat match nothing can be chosen in many ways.
        self._counts_nothing = self._counts_nothing or (piece.empty and endless is False)
        self._connect(piece.last, piece.first)
        piece.empty = piece.empty or low == 0
        return piece

    def _join(self, left: _Piece, right: _Piece) -> _Piece:
        self._connect(left.last, right.first)
        return _Piece(
            left.first + (right.first if left.empty else []),
            right.last + (left.last if right.empty else []),
            left.empty and right.empty,
        )

    @staticmethod
    def _either(pieces: list[_Piece]) -> _Piece:
        return _Piece(
            [number for piece in pieces for number in piece.first],
            [number for piece in pieces for number in piece.last],
            any(piece.empty for piece in pieces),
        )

    def _connect(self, ends: list[int], begins: list[int]) -> None:
        self._follow.update((end, begin) for end in ends for begin in begins)

    def is_ambiguous(self) -> bool:
        """Whether two paths over one text lead from a position back to it."""
        if self._counts_nothing:
            return True
        edges: dict[int, list[int]] = {}
        for left, right in self._follow:
            edges.setdefault(left, []).append(right)
        loops = _components(edges, lambda position: edges.get(position, ()))
        number = {position: index for index, loop in enumerate(loops) for position in loop}
        if any(count > 1 and number[left] == number[right] for (left, right), count in self._follow.items()):
            return True
        inner = {p: [after for after in edges.get(p, ()) if number[after] == number[p]] for p in number}

        def pairs(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
            """Where two paths in one loop come to by the same character, in any order."""
            for left in inner[pair[0]]:
                for right in inner[pair[1]]:
                    if self._sets[left] & self._sets[right]:
                        yield (left, right) if left <= right else (right, left)

        together = _components([(position, position) for position in number if inner[position]], pairs)
        # Two paths that are in one place, then in two, and then in one again.
        return any(
            len(loop) > 1 and any(a == b for a, b in loop) and any(a != b for a, b in loop)
            for loop in together
        )


def _components(starts: Iterable[_Node], follow: Callable[[_Node], Iterable[_Node]]) -> list[list[_Node]]:
    """What of a graph leads back to itself, together, and each other node alone (Tarjan, 1972), without recursion."""
    order: dict[_Node, int] = {}
    lowest: dict[_Node, int] = {}
    waiting: dict[_Node, None] = {}
    found: list[list[_Node]] = []
    for start in starts:
        stack = [] if start in order else [(start, iter(follow(start)))]
        for node, _ in stack:
            order[node] = lowest[node] = len(order)
            waiting[node] = None
        while stack:
            node, after = stack[-1]
            following = next(after, None)
            if following is None:
                stack.pop()
                if stack:
                    before = stack[-1][0]
                    lowest[before] = min(lowest[before], lowest[node])
                if lowest[node] == order[node]:
                    found.append([])
                    while not found[-1] or found[-1][-1] != node:
                        found[-1].append(waiting.popitem()[0])
            elif following not in order:
                order[following] = lowest[following] = len(order)
                waiting[following] = None
                stack.append((following, iter(follow(following))))
            elif following in waiting:
                lowest[node] = min(lowest[node], order[following])
    return found


def _characters(operator: str, value: Any) -> int:
    """The characters that one position matches, as bits."""
    if operator == "LITERAL":
        return _bit(value)
    if operator == "NOT_LITERAL":
        return _ALL & ~_bit(value) | 1 << _OTHER
    if operator == "RANGE":
        return _bits(range(min(value[0], _OTHER), min(value[1], _OTHER) + 1))
    if operator == "CATEGORY":
        expression = re.compile(_CATEGORIES[str(value)])
        return _bits(code for code in range(_OTHER) if expression.fullmatch(chr(code))) | 1 << _OTHER
    if operator == "IN":
        found = 0
        for inner, inner_value in value:
            if str(inner) != "NEGATE":
                found |= _characters(str(inner), inner_value)
        return _ALL & ~found | 1 << _OTHER if str(value[0][0]) == "NEGATE" else found
    # Any character, and a reference back to some text.
    return _ALL


def _bit(code: int) -> int:
    return 1 << min(code, _OTHER)


def _bits(codes: Iterable[int]) -> int:
    return sum({_bit(code) for code in codes})


def _fold(characters: int) -> int:
    return characters | _bits(_other_cases(characters))


def _other_cases(characters: int) -> Iterator[int]:
    for code in range(_OTHER):
        if characters >> code & 1:
            yield ord(chr(code).swapcase())
