"""Shell text to typed parts. Whatever this does not know becomes an Opaque part, never nothing."""

from __future__ import annotations

import re
import unicodedata
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import tree_sitter_bash
from tree_sitter import Language, Parser

from .coverage import unseen
from .heredoc import check_heredoc
from .loops import loop_values
from .syntax import Assignment, Block, Command, Opaque, Part, Redirect, Word
from .words import WordError, read_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tree_sitter import Node

MAX_LENGTH = 16_384
MAX_DEPTH = 40
# The parser needs time quadratic in these: 1,000 take about 50 ms.
MAX_OPERATORS = 1000
# Arithmetic over plain numbers; with names in it, it can run commands.
_NUMBERS = re.compile(rb"\$\(\([0-9 +*/%()<>=&|!-]*\)\)")
# So many rounds of loops in all are judged each for itself.
MAX_ROUNDS = 40
_SPLIT_WORD = re.compile(r"[^ \t\n]\\\n[^ \t\n]")
_NESTING = frozenset(
    {
        "program", "list", "pipeline", "subshell", "negated_command", "if_statement", "elif_clause",
        "else_clause", "while_statement", "for_statement", "do_group", "case_statement", "case_item",
        "compound_statement", "command_substitution", "process_substitution", "redirected_statement",
    }
)  # fmt: skip
_Kind = Literal["sequence", "and", "or", "not", "pipe", "subshell", "branch", "loop"]
# What is not listed here runs one after another.
_KINDS: dict[str, _Kind] = {
    "pipeline": "pipe", "subshell": "subshell", "command_substitution": "subshell", "negated_command": "not",
    "process_substitution": "subshell", "if_statement": "branch", "elif_clause": "branch", "else_clause": "branch",
    "case_statement": "branch", "case_item": "branch", "while_statement": "loop", "for_statement": "loop",
    "do_group": "loop", "compound_statement": "sequence",
}  # fmt: skip
_TOKENS = frozenset(
    {
        ";", ";;", "&&", "||", "|", "|&", "&", "(", ")", "{", "}", "!", "if", "then", "else", "elif", "fi",
        "while", "until", "do", "done", "for", "in", "case", "esac", "\n", "$(", "`", "<(", ">(",
    }
)  # fmt: skip
_WORDS = frozenset(
    {
        "word", "number", "raw_string", "string", "ansi_c_string", "concatenation", "simple_expansion",
        "expansion", "command_substitution", "process_substitution", "brace_expression", "variable_name",
        "extglob_pattern", "regex", "arithmetic_expansion",
    }
)  # fmt: skip
_FILE_TESTS = frozenset(
    {
        "-e", "-f", "-d", "-r", "-w", "-x", "-s", "-L", "-h", "-z", "-n", "-nt", "-ot", "-ef", "-b",
        "-c", "-p", "-S", "-t", "-a", "-o",
    }
)  # fmt: skip
_NUMBER_TESTS = frozenset(["-eq", "-ne", "-lt", "-le", "-gt", "-ge"])
_TEST_TOKENS = frozenset({"[", "]", "[[", "]]", "(", ")", "!", "=", "==", "!=", "=~", "&&", "||", "<", ">"})
_DECLARATIONS = frozenset({"export", "local", "readonly"})


def parse_shell(text: str) -> list[Part]:
    """Every part of a script: commands, redirections and assignments at any depth, and what is not known."""
    if len(text) > MAX_LENGTH:
        return [Opaque(text[:80], f"is longer than {MAX_LENGTH} characters")]
    if sum(text.count(operator) for operator in "|&;<[") > MAX_OPERATORS:
        return [Opaque(text[:80], f"has more than {MAX_OPERATORS} operators")]
    strange = next((char for char in text if _is_strange(char)), None)
    if strange is not None:
        return [
            Opaque(
                text[:80],
                f"contains the character U+{ord(strange):04X}, which shells and parsers read differently",
            )
        ]
    if _SPLIT_WORD.search(text):
        return [Opaque(text[:80], "continues a word on the next line, which parsers read differently")]
    source = text.encode()
    root = Parser(_LANGUAGE).parse(source).root_node
    reader = _Reader(source)
    reader.statement(root, 0, piped=False)
    if root.has_error:
        reader.opaque(root, "cannot be parsed completely")
    elif not reader.parts and text.strip():
        reader.opaque(root, "holds no command")
    if (reason := unseen(root, source)) is not None:
        reader.opaque(root, reason)
    return reader.parts


def _is_strange(char: str) -> bool:
    if char in "\t\n" or " " <= char <= "~":
        return False
    return unicodedata.category(char)[0] in "ZC"


_LANGUAGE = Language(tree_sitter_bash.language())


class _Reader:
    def __init__(self, source: bytes) -> None:
        self._source = source
        self._heredocs = 0
        self._known: dict[str, Word] = {}
        self._rounds = 0
        self.parts: list[Part] = []
        self._handlers: dict[str, Callable[[Node, int], None]] = {
            "function_definition": self._function,
            "file_redirect": self._redirect,
            "heredoc_redirect": self._redirect,
            "herestring_redirect": self._redirect,
            "declaration_command": self._declaration,
            "test_command": self._test,
            "comment": self._comment,
        }

    def opaque(self, node: Node, reason: str) -> None:
        self.parts.append(Opaque(self._text(node)[:200], reason))

    def statement(self, node: Node, depth: int, *, piped: bool) -> None:
        if depth > MAX_DEPTH:
            self.opaque(node, "is nested too deep")
            return
        kind = node.type
        if kind == "command":
            self._command(node, depth, piped)
        elif kind == "unset_command":
            self._plain(node, depth, piped)
        elif kind in _NESTING:
            self._nest(node, depth, piped)
        elif kind in _WORDS:
            self._word(node, depth)
        elif kind in {"variable_assignment", "variable_assignments"}:
            self._assignments([node] if kind == "variable_assignment" else node.children, depth)
        else:
            handle = self._handlers.get(kind, self._unknown)
            handle(node, depth)

    def _unknown(self, node: Node, depth: int) -> None:
        self.opaque(node, f"holds {node.type.replace('_', ' ')}, which is not judged")
        self._substitutions(node, depth)

    def _function(self, node: Node, depth: int) -> None:
        self.opaque(node, "defines a function, which can stand in for a known command")
        self._substitutions(node, depth)

    def _nest(self, node: Node, depth: int, piped: bool) -> None:
        if node.type == "for_statement":
            self._loop_variable(node)
        elif node.type == "compound_statement" and node.children and node.children[0].type == "((":
            self.opaque(node, "evaluates arithmetic, which can run commands")
            self._substitutions(node, depth)
            return
        if node.type == "list":
            self._list(node, depth, piped)
        elif node.type in _KINDS:
            with self._block(_KINDS[node.type]):
                values = loop_values(node, self._known, MAX_ROUNDS - self._rounds)
                self._children(
                    node, [c for c in node.children if not values or c != node.children[-1]], depth, piped
                )
                self._rounds_of(node, values, depth, piped)
        elif node.type == "redirected_statement":
            # Redirections come first: they are made in the folder where the command begins. The parser gives those
            # of a list's last command to the whole list.
            ahead = [
                child for child in node.children if child.type in {"file_redirect", "herestring_redirect"}
            ]
            rest = [child for child in node.children if child not in ahead]
            body = next(iter(rest), None)
            if body is not None and body.type == "list" and body.named_children:
                self._list(body, depth + 1, piped, ahead)
                self._children(node, rest[1:], depth, piped)
            else:
                self._children(node, [*ahead, *rest], depth, piped)
        else:
            self._children(node, node.children, depth, piped)

    @contextmanager
    def _block(self, kind: _Kind) -> Iterator[None]:
        outer, self.parts = self.parts, []
        try:
            yield
        finally:
            inner, self.parts = self.parts, outer
            if inner:
                self.parts.append(Block(kind, tuple(inner)))

    def _list(self, node: Node, depth: int, piped: bool, redirects: Sequence[Node] = ()) -> None:
        operators = {child.type for child in node.children if not child.is_named}
        kind: _Kind = {"&&": "and", "||": "or"}.get(next(iter(operators), ""), "sequence")  # type: ignore[assignment]  # the literal's values
        with self._block(kind if len(operators) == 1 else "sequence"):
            for child in node.children:
                if child.is_named:
                    with self._block("sequence"):
                        if child == node.named_children[-1]:
                            self._children(node, list(redirects), depth, piped)
                        self.statement(child, depth + 1, piped=piped)
                elif child.type not in _TOKENS:
                    self.opaque(node, f"holds {child.type!r}, which is not judged")

    def _children(self, node: Node, children: list[Node], depth: int, piped: bool) -> None:
        seen_pipe = False
        source: Command | None = None
        for child in children:
            if child.is_named:
                first = len(self.parts)
                self.statement(child, depth + 1, piped=piped or seen_pipe)
                if node.type == "pipeline":
                    source = self._link(first, source, child)
            elif child.type in {"|", "|&"}:
                seen_pipe = True
            elif child.type not in _TOKENS:
                self.opaque(node, f"holds {child.type!r}, which is not judged")

    def _link(self, first: int, source: Command | None, node: Node) -> Command | None:
        """Tell a command of a pipeline which one it reads from; returns the command the next one reads from."""
        last = self.parts[-1] if len(self.parts) > first else None
        if node.type != "command" or not isinstance(last, Command):
            return None
        linked = replace(last, source=source)
        self.parts[-1] = linked
        return linked

    def _loop_variable(self, node: Node) -> None:
        variable = node.child_by_field_name("variable")
        if variable is not None:
            self.parts.append(Assignment(self._text(node)[:80], self._text(variable), None))

    def _rounds_of(self, node: Node, values: list[Word], depth: int, piped: bool) -> None:
        """The body of a loop once for each value of its variable."""
        outer, self._rounds = self._known, self._rounds + len(values)
        for value in values:
            self._known = {**outer, self._text(node.child_by_field_name("variable")): value}  # type: ignore[arg-type]  # only loops with a variable have values
            self.statement(node.children[-1], depth + 1, piped=piped)
        self._known = outer

    def _command(self, node: Node, depth: int, piped: bool) -> None:
        name: Word | None = None
        arguments: list[Word] = []
        for child in node.children:
            if child.type == "variable_assignment":
                self._assignments([child], depth)
            elif child.type == "command_name":
                name = self._word(child, depth)
            elif child.type.endswith("_redirect"):
                self._redirect(child, depth)
            elif child.type in _WORDS or not child.is_named:
                arguments.append(self._word(child, depth))
            else:
                self.opaque(child, f"holds {child.type.replace('_', ' ')}, which is not judged")
                self._substitutions(child, depth)
        if name is None:
            self.opaque(node, "names no command")
        else:
            self.parts.append(Command(self._text(node)[:500], name, tuple(arguments), piped))

    def _plain(self, node: Node, depth: int, piped: bool) -> None:
        first, *rest = node.children
        words = tuple(self._word(child, depth) for child in rest)
        keyword = self._text(first)
        self.parts.append(Command(self._text(node)[:500], Word(keyword, keyword), words, piped))

    def _word(self, node: Node, depth: int) -> Word:
        self._substitutions(node, depth)
        if not node.is_named:
            text = self._text(node)
            return Word(text, text, dynamic=not re.fullmatch(r"[=!@%+,./:^\]-]+", text))
        try:
            return read_word(node, self._known)
        except WordError as error:
            self.opaque(node, str(error))
            return Word(self._text(node), "", dynamic=True)

    def _substitutions(self, node: Node, depth: int) -> None:
        """Judge every substitution inside a word; arithmetic that names variables can run commands too."""
        pending = [(node, depth)]
        while pending:
            inner, level = pending.pop()
            if inner.type in {"command_substitution", "process_substitution"}:
                self.statement(inner, level + 1, piped=False)
            elif inner.type == "arithmetic_expansion" and _NUMBERS.fullmatch(inner.text or b""):
                continue
            elif inner.type == "arithmetic_expansion":
                self.opaque(inner, "evaluates arithmetic, which can run commands")
                pending += [(child, level + 1) for child in inner.children]
            elif inner.type in {"command", "redirected_statement"} and inner is not node:
                self.statement(inner, level + 1, piped=False)
            elif level > MAX_DEPTH * 2:
                self.opaque(inner, "is nested too deep")
            else:
                pending += [(child, level + 1) for child in inner.children]

    def _redirect(self, node: Node, depth: int) -> None:
        if node.type == "herestring_redirect":
            for child in node.named_children:
                self._word(child, depth)
            return
        if node.type == "heredoc_redirect":
            self._heredoc(node, depth)
            return
        targets = node.children_by_field_name("destination")
        operator = next((c.type for c in node.children if not c.is_named and c.type[0] in "<>&"), "")
        if operator in {">&-", "<&-"} and not targets:
            return
        if len(targets) != 1 or not operator:
            self.opaque(node, "holds a redirection that is not understood")
            for target in targets:
                self._word(target, depth)
            return
        self.parts.append(Redirect(self._text(node), operator, self._word(targets[0], depth)))

    def _heredoc(self, node: Node, depth: int) -> None:
        self._heredocs += 1
        problem = "uses several here-documents" if self._heredocs > 1 else check_heredoc(node, self._source)
        if problem:
            self.opaque(node, problem)
        for child in node.children:
            if child.type == "heredoc_body":
                self._substitutions(child, depth)
                if any(grandchild.type == "expansion" for grandchild in child.named_children):
                    self.opaque(child, "holds an expansion in a here-document")
            elif child.type in {"pipeline", "command", "list", "file_redirect", "redirected_statement"}:
                self.statement(child, depth + 1, piped=True)
            elif child.type not in {"heredoc_start", "heredoc_end", "<<", "<<-", "|", "&&", "||", ";", "\n"}:
                self.opaque(child, "follows a here-document in a way that is not judged")
                self._substitutions(child, depth)

    def _assignments(self, nodes: list[Node], depth: int) -> None:
        for node in nodes:
            name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
            if name is None or name.type != "variable_name" or (value and value.type not in _WORDS):
                self.opaque(node, "assigns an array or an element of one")
                self._substitutions(node, depth)
                continue
            word = self._word(value, depth) if value else None
            self.parts.append(Assignment(self._text(node), self._text(name), word))

    def _declaration(self, node: Node, depth: int) -> None:
        keyword, *rest = node.children
        simple = all(child.type in {"variable_assignment", "variable_name"} for child in rest)
        if self._text(keyword) not in _DECLARATIONS or not rest or not simple:
            self.opaque(node, "declares variables in a way that is not judged")
            self._substitutions(node, depth)
            return
        self._assignments([child for child in rest if child.type == "variable_assignment"], depth)
        for child in rest:
            if child.type == "variable_name":
                self.parts.append(Assignment(self._text(child), self._text(child), None))

    def _test(self, node: Node, depth: int) -> None:
        self._substitutions(node, depth)
        pending = list(node.children)
        double = bool(node.children) and node.children[0].type == "[["
        numeric = expands = False
        while pending:
            inner = pending.pop()
            text = self._text(inner)
            if inner.type in {"test_operator"} or (not inner.is_named and text.startswith("-")):
                numeric = numeric or text in _NUMBER_TESTS
                if text not in _FILE_TESTS and text not in _NUMBER_TESTS:
                    self.opaque(inner, f"uses the test {text!r}, which is not judged")
            elif inner.type in _WORDS:
                word = self._word(inner, depth)
                expands = expands or word.dynamic or inner.type == "word"
                if word.dynamic and not double and inner.type != "string":
                    self.opaque(inner, "tests words that are not quoted")
            elif inner.type in {"unary_expression", "binary_expression", "parenthesized_expression"}:
                pending += inner.children
            elif inner.is_named or text not in _TEST_TOKENS:
                self.opaque(inner, "holds a test that is not judged")
        if double and numeric and expands:
            self.opaque(node, "evaluates arithmetic, which can run commands")
        self.parts.append(Command(self._text(node)[:500], Word("test", "test"), ()))

    def _comment(self, node: Node, _depth: int) -> None:
        before = self._source[node.start_byte - 1 : node.start_byte]
        if before not in {b"", b" ", b"\t", b"\n", b";"} or b"\n" in (node.text or b""):
            self.opaque(node, "holds a comment where a shell may see none")

    def _text(self, node: Node) -> str:
        return (node.text or b"").decode()
