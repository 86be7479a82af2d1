"""Whether the parser and the shell agree where a here-document ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_DELIMITER = re.compile(rb"(['\"]?)([A-Za-z_][A-Za-z0-9_]*)\1")


def check_heredoc(node: Node, source: bytes) -> str:
    """Empty when the body the parser found is the one the shell will read, else what is wrong."""
    start = next((child for child in node.children if child.type == "heredoc_start"), None)
    end = next((child for child in node.children if child.type == "heredoc_end"), None)
    if start is None or end is None:
        return "has a here-document without an end"
    delimiter = _DELIMITER.fullmatch(start.text or b"")
    if delimiter is None:
        return "has a here-document with an unusual delimiter"
    newline = source.find(b"\n", start.end_byte)
    if newline < 0 or any(quote in source[start.end_byte : newline] for quote in (b"'", b'"', b"\\", b"<<")):
        return "has a here-document whose first line is not understood"
    strip = any(child.type == "<<-" for child in node.children)
    position = newline + 1
    while position <= len(source):
        stop = source.find(b"\n", position)
        line = source[position:] if stop < 0 else source[position:stop]
        bare = line.lstrip(b"\t") if strip else line
        if bare == delimiter.group(2):
            found = position + len(line) - len(bare)
            return "" if found == end.start_byte else "has a here-document whose end is not clear"
        if stop < 0:
            break
        position = stop + 1
    return "has a here-document without an end"
