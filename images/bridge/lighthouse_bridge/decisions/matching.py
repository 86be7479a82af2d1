"""Whether one rule speaks about one command, and if it does not, why."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from .locations import MAX_PATH
from .options import Arguments, is_denied, sort_arguments
from .rules import DECISIONS, RISKS
from .syntax import Word
from .verdict import Decision, Finding, Risk

# A pattern for names with less than this beside wildcards names nothing.
_MIN_AIM = 2
# Longer words are not held against expressions, which may need time quadratic in this.
_MAX_MATCHED = 2048

if TYPE_CHECKING:
    from .locations import Use
    from .place import Place
    from .rules import CommandRule, Program
    from .syntax import Command


_WILDCARD = re.compile(r"[*?\[]")
_INNER_PATH = re.compile(r"[:=,@]")


class Mismatch(Exception):  # noqa: N818 - an answer, not an error
    """The rule is about this program and subcommand, but a constraint does not hold; the message says which."""


class Split(NamedTuple):
    """A command's leading plain words (subcommands), the words after the program's own options, the folders it is
    told to work in, and a problem."""

    leading: list[str]
    words: tuple[Word, ...]
    folders: list[Word]
    problem: str = ""


def split_subcommand(command: Command, program: Program | None) -> Split:
    """Read the program's own options and the subcommand of a command."""
    words = command.arguments
    folders: list[Word] = []
    position = 0
    if program is not None:
        while position < len(words) and words[position].text.startswith("-") and not words[position].dynamic:
            name, has_value, _ = words[position].text.partition("=")
            if name in program.folders and not has_value and position + 1 < len(words):
                folders.append(words[position + 1])
                position += 2
                continue
            if name not in program.allow and name not in program.values:
                problem = f"the option {name!r} before the subcommand is not known as safe"
                return Split([], words[position:], folders, problem)
            position += 2 if name in program.values and not has_value else 1
    rest = words[position:]
    leading: list[str] = []
    for word in rest:
        if word.dynamic or word.globbed or word.text.startswith("-"):
            break
        leading.append(word.text)
    return Split(leading, rest, folders)


def about(
    rule: CommandRule, command: Command, leading: list[str], words: tuple[Word, ...]
) -> tuple[Word, ...] | None:
    """The words the rule speaks about: those after its subcommand, or None when it is about another one."""
    if not rule.subcommands:
        return command.arguments
    best = None
    first = leading[0] if leading else "-"
    for subcommand in rule.subcommands:
        if not subcommand.startswith(first):
            continue
        wanted = subcommand.split(" ")
        if leading[: len(wanted)] == wanted:
            best = max(best or 0, len(wanted))
    return None if best is None else words[best:]


def read_arguments(rule: CommandRule, words: tuple[Word, ...]) -> Arguments:
    """A command's words as the rule reads them."""
    values = (*rule.values, *rule.writes, *rule.texts) if rule.writes or rule.texts else rule.values
    return sort_arguments(words, values, rule.style, rule.texts, rule.prefixes)


def apply_rule(
    rule: CommandRule, command: Command, words: tuple[Word, ...], place: Place
) -> list[Finding] | None:
    """The rule's findings about a command; None when its `when` does not hold.

    Raises Mismatch when an approving rule's constraint does not hold.
    """
    arguments = read_arguments(rule, words)
    if not _holds(rule, command, arguments, place):
        return None
    own = Finding(DECISIONS[rule.decision], RISKS[rule.risk], rule.id, command.raw, rule.reason)
    if own.decision is not Decision.APPROVE:
        return [own]
    _check_options(rule, arguments)
    uncertain = [word for word in arguments.uncertain if word.dynamic or not rule.globs]
    if uncertain and not rule.dynamic:
        raise Mismatch(f"the argument {uncertain[0].raw[:80]!r} is only known when the shell runs")
    operands = arguments.operands
    if len(operands) < rule.min_operands:
        raise Mismatch(
            f"{len(operands)} operands are fewer than the {rule.min_operands} that are known as safe"
        )
    if rule.max_operands is not None and len(operands) > rule.max_operands:
        raise Mismatch(
            f"{len(operands)} operands are more than the {rule.max_operands} that are known as safe"
        )
    patterns = 0 if any(name in rule.pattern_options for name in arguments.options) else rule.patterns
    _check_operands(rule.pattern, operands[:patterns])
    _check_operands(rule.operand, operands[patterns:])
    if rule.pattern and rule.pattern_options:
        given = [_as_word(value) for name, value in arguments.values if name in rule.pattern_options]
        _check_operands(rule.pattern, given)
    return [own, *_judge_paths(rule, arguments, operands[patterns:], place)]


def _check_operands(wanted: str, operands: list[Word]) -> None:
    for word in operands:
        if wanted and not word.dynamic and len(word.text) > _MAX_MATCHED:
            raise Mismatch(f"the operand {word.text[:40]!r}… is too long to be known as safe")
        if wanted and not word.dynamic and not re.fullmatch(wanted, word.text, re.DOTALL):
            raise Mismatch(f"the operand {word.text[:80]!r} is not known as safe")


def _holds(rule: CommandRule, command: Command, arguments: Arguments, place: Place) -> bool:
    when = rule.when
    if when.piped is not None and when.piped != command.piped:
        return False
    if when.bare is not None and when.bare != (not arguments.operands):
        return False
    if when.pattern and not _searches(rule, arguments, place):
        return False
    if when.options and not any(is_denied(name, when.options, rule.style) for name in arguments.options):
        return False
    return not when.operand or any(
        _may_match(rule, when.operand, word.text) for word in arguments.operands if not word.dynamic
    )


def _may_match(rule: CommandRule, pattern: str, text: str) -> bool:
    """Whether a text matches; one that is too long to tell does where that refuses."""
    if len(text) > _MAX_MATCHED:
        return rule.decision != "approve"
    return re.fullmatch(pattern, text) is not None


def read_search(arguments: Arguments, place: Place) -> tuple[list[str], bool]:
    """What a search looks for, the values of -e or else the first operand, and whether the project's root is one of
    the places that the other operands name."""
    given = [value for name, value in arguments.values if name in {"-e", "--regexp"}]
    places = arguments.operands if given else arguments.operands[1:]
    rooted = any(word.dynamic or place.is_root(word.text) for word in places) or (
        not places and place.is_root(".")
    )
    return [word if isinstance(word, str) else word.text for word in given or arguments.operands[:1]], rooted


def read_narrowing(arguments: Arguments) -> list[str]:
    """The options of a search, but those whose value is a pattern for any file name."""
    values = {name: value if isinstance(value, str) else value.text for name, value in arguments.values}
    return [
        name for name in arguments.options if len(_WILDCARD.sub("", values.get(name, "named"))) >= _MIN_AIM
    ]


def _searches(rule: CommandRule, arguments: Arguments, place: Place) -> bool:
    """Whether a search looks for the rule's pattern, in the places the rule speaks of."""
    when = rule.when
    if any(is_denied(name, when.without, rule.style) for name in read_narrowing(arguments)):
        return False
    texts, rooted = read_search(arguments, place)
    return when.rooted in {None, rooted} and any(_may_match(rule, when.pattern, text) for text in texts)


def _check_options(rule: CommandRule, arguments: Arguments) -> None:
    known = () if rule.allow is None else (rule.allow, rule.values, rule.writes, rule.texts, rule.prefixes)
    for name in arguments.options:
        if known and not any(name in names for names in known):
            raise Mismatch(f"the option {name!r} is not known as safe")
        if is_denied(name, rule.deny, rule.style):
            raise Mismatch(f"the option {name!r} needs review")


def _judge_paths(
    rule: CommandRule, arguments: Arguments, operands: list[Word], place: Place
) -> list[Finding]:
    judged: list[Finding | None] = []
    if rule.operands == "copy":
        judged += judge_copy(operands, place)
    elif rule.operands != "any":
        for word in operands:
            if not word.dynamic:
                judged += _judge_text(word.text, word.globbed, rule.operands, place)
    for name, value in arguments.values:
        word = _as_word(value)
        if name in rule.texts or (rule.pattern and name in rule.pattern_options):
            continue
        if name in rule.writes or rule.operands != "any":
            judged += _judge_text(word.text, word.globbed, "write" if name in rule.writes else "read", place)
    return [finding for finding in judged if finding is not None]


def judge_copy(operands: list[Word], place: Place) -> list[Finding | None]:
    """Judge files that are copied or moved: what they are called, what they come to be called, and, since they may be
    folders, what such a folder holds."""
    *sources, target = operands or [Word("", "")]
    judged: list[Finding | None] = [place.judge(target.text, "become", globbed=target.globbed)]
    for source in sources:
        name = posixpath.basename(source.text)
        if name in {"", ".", ".."}:
            reason = (
                f"What {source.text[:80]!r} holds is not known by name; name the files or the folder itself."
            )
            judged.append(Finding(Decision.REVIEW, Risk.MEDIUM, "path.contents", source.text[:80], reason))
        judged += _judge_text(source.text, source.globbed, "write", place)
        judged.append(
            place.judge(f"{target.text}/{name}", "become", globbed=source.globbed or target.globbed)
        )
    return judged


def _as_word(value: Word | str) -> Word:
    return value if isinstance(value, Word) else Word(value, value)


def _judge_text(text: str, globbed: bool, use: Use, place: Place) -> list[Finding | None]:
    """Judge a word as a path, and what follows a colon, equals sign or @ in it, as in `html:/etc/x`. Programs
    expand wildcards too, so quoting them from the shell changes nothing."""
    globbed = globbed or bool(_WILDCARD.search(text))
    # What is longer than any path is reviewed as a whole.
    found = () if len(text) > MAX_PATH else _INNER_PATH.finditer(text)
    inner = [text[match.end() :] for match in found]
    return [place.judge(path, use, globbed=globbed) for path in (text, *inner) if path]
