"""Whether the parser saw all of a shell text: what it leaves out could be a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_BLANK = re.compile(rb"(?:[ \t\n]|\\\n)*")


def unseen(root: Node, source: bytes) -> str | None:
    """What is wrong with the tree, None if nothing: between its tokens everything must be blank."""
    position = 0
    pending = [root]
    while pending:
        node = pending.pop()
        if node.is_missing:
            return "cannot be parsed completely"
        if node.child_count and node.type not in {"string", "heredoc_body"}:
            pending += sorted(node.children, key=lambda child: child.start_byte, reverse=True)
            continue
        gap = source[position : node.start_byte]
        if node.start_byte > position and not _BLANK.fullmatch(gap):
            return f"holds {gap[:40].decode(errors='replace')!r} where the parser saw nothing"
        position = max(position, node.end_byte)
    return None if _BLANK.fullmatch(source[position:]) else "goes on where the parser saw nothing"
