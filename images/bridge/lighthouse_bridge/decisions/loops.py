"""Loops over words that are plain in the text, whose body can be judged once for each of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .words import WordError, read_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tree_sitter import Node

    from .syntax import Word

MAX_VALUES = 10


def loop_values(node: Node, known: Mapping[str, Word], room: int) -> list[Word]:
    """The values of a loop's variable when they are plain in the text and nothing else there may set it.

    `known` are the values of variables around it; none for more than MAX_VALUES or `room` of them.
    """
    variable = node.child_by_field_name("variable") if node.type == "for_statement" else None
    body = node.children[-1] if node.children else None
    if variable is None or body is None or body.type != "do_group":
        return []
    name, text = ((part.text or b"").decode() for part in (variable, body))
    meant = re.findall(rf"\$(?:{name}\b|\{{{name}\}})|(?<=\s)-{name}(?=\s)", text)
    if len(meant) != len(re.findall(rf"\b{name}\b", text)):
        return []
    try:
        words = [read_word(child, known) for child in node.children_by_field_name("value")]
    except WordError:
        return []
    is_plain = not any(word.dynamic for word in words)
    return words if is_plain and len(words) <= min(MAX_VALUES, room) else []
