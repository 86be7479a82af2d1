"""The value of a shell word, as far as it is known before the shell runs."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from .syntax import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tree_sitter import Node

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLAIN_EXPANSION = re.compile(rf"\$(?:({_NAME})|\{{({_NAME})\}})")
_DEFAULT_EXPANSION = re.compile(rf"\$\{{({_NAME}):?[-+]")
_UNQUOTED = frozenset({"word", "number", "variable_name", "file_descriptor", "extglob_pattern", "regex"})
_STATUS = re.compile(r"\$[?#$!]|\$\{PIPESTATUS\[[0-9]+\]\}")
# What these stand for is known well enough to judge a path that begins with them.
_KNOWN = {"HOME": "~", "PWD": "."}
_ANSI_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ANSI = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


class WordError(ValueError):
    """A word holds syntax that is not judged; the message completes "it …"."""


class _Builder:
    __slots__ = ("dynamic", "globbed", "known", "quoted", "several", "text", "variables")

    def __init__(self, known: Mapping[str, Word]) -> None:
        self.known = known
        self.text: list[str] = []
        self.dynamic = False
        self.globbed = False
        self.quoted = False
        # It may become several words, or none.
        self.several = False
        self.variables: list[str] = []


def read_word(node: Node, known: Mapping[str, Word] = MappingProxyType({})) -> Word:
    """The value of a word node; raises WordError. Substitutions in it are for the caller to find; `known` are values
    of variables, as words."""
    builder = _Builder(known)
    _add(node, builder)
    raw, single = _source(node), node.type == "string" and not builder.several
    variables = tuple(builder.variables)
    return Word(raw, "".join(builder.text), builder.dynamic, builder.globbed, variables, single)


def _source(node: Node) -> str:
    return (node.text or b"").decode()


def _add(node: Node, builder: _Builder) -> None:
    kind, source = node.type, _source(node)
    if kind in _UNQUOTED and not node.named_child_count:
        _add_unquoted(source, builder)
    elif kind in {"concatenation", "command_name"}:
        _add_pieces(node, builder)
    elif kind == "raw_string":
        builder.text.append(source[1:-1])
    elif kind == "string":
        _add_string(node, builder)
    elif kind == "ansi_c_string":
        _add_ansi(source, builder)
    elif kind in {"simple_expansion", "expansion"}:
        _add_expansion(source, builder)
    elif kind in {"command_substitution", "brace_expression", "arithmetic_expansion"}:
        builder.dynamic = True
    elif kind == "process_substitution":
        builder.text.append("/dev/fd/63")
    else:
        raise WordError(f"holds {source[:80]!r}, which is not understood")


def _add_pieces(node: Node, builder: _Builder) -> None:
    children = node.children
    for piece in children:
        if piece.is_named:
            _add(piece, builder)
        else:
            _add_unquoted(_source(piece), builder)
    # A brace expansion may be spread over several pieces: look at the whole.
    source = "".join(
        _source(p) if p.type in {"word", "brace_expression"} or not p.is_named else "" for p in children
    )
    if _expands_braces(source):
        builder.dynamic = True


def _expands_braces(source: str) -> bool:
    return "{" in source and "}" in source and ("," in source or ".." in source)


def _add_unquoted(source: str, builder: _Builder) -> None:
    if _expands_braces(source):
        builder.dynamic = True
    position = 0
    while position < len(source):
        character = source[position]
        if character == "\\":
            following = source[position + 1 : position + 2]
            if following != "\n":
                builder.text.append(following)
            position += 2
            continue
        if character in "*?[":
            builder.globbed = True
        elif character in "`$\"'":
            raise WordError(f"holds {source[:80]!r}, which is not understood")
        builder.text.append(character)
        position += 1


def _add_string(node: Node, builder: _Builder) -> None:
    """The content is taken from the source between the expansions: the parser leaves blanks out of its tree."""
    source = node.text or b""
    if len(source) < 2 or not source.endswith(b'"') or node.has_error:
        raise WordError("holds a text in quotes that does not end")
    start, end = 1, len(source) - 1
    position = start
    for piece in node.named_children:
        if piece.type in {"string_content", "comment"}:
            continue
        begin = piece.start_byte - node.start_byte
        builder.text.append(_unescape_quoted(source[position:begin].decode()))
        builder.quoted = True
        _add(piece, builder)
        builder.quoted = False
        position = piece.end_byte - node.start_byte
    builder.text.append(_unescape_quoted(source[position:end].decode()))


def _unescape_quoted(text: str) -> str:
    return re.sub(r"\\([$`\"\\])", r"\1", text.replace("\\\n", ""))


def _add_ansi(source: str, builder: _Builder) -> None:
    body = source[2:-1]
    if all(match.group(1) in _ANSI for match in _ANSI_ESCAPE.finditer(body)):
        builder.text.append(_ANSI_ESCAPE.sub(lambda match: _ANSI[match.group(1)], body))
    else:
        builder.dynamic = True


def _add_expansion(source: str, builder: _Builder) -> None:
    if _STATUS.fullmatch(source):
        builder.text.append("0")
        return
    plain = _PLAIN_EXPANSION.fullmatch(source)
    if plain:
        name = plain.group(1) or plain.group(2)
        if name in _KNOWN:
            builder.text.append(_KNOWN[name])
            return
        value = builder.known.get(name)
        # Without quotes the shell would split it, by an IFS that any call before may have set.
        if value is not None and builder.quoted:
            builder.text.append(value.text)
            builder.globbed = builder.globbed or value.globbed
            return
        builder.variables.append(name)
        builder.dynamic = True
        return
    default = _DEFAULT_EXPANSION.match(source)
    if default:
        builder.variables.append(default.group(1))
        builder.dynamic = True
        return
    if source in {"$@", "$*", "$0", "$-", "$_"} or re.fullmatch(r"\$\{?[0-9@*]\}?", source):
        builder.dynamic = builder.several = True
        return
    raise WordError(f"holds the expansion {source[:80]!r}, which is not judged")
