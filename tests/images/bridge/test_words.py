"""What is known of words before the shell runs: values of loops, texts for people, and what stands for arguments."""

import pytest

from lighthouse_bridge.decisions.judge import Judge
from lighthouse_bridge.decisions.rules import load_rules
from lighthouse_bridge.decisions.shell import parse_shell
from lighthouse_bridge.decisions.syntax import Command, Word, walk
from tests.images.bridge.support import RULES

JUDGE = Judge(load_rules(RULES), ())


def status(command: str) -> str:
    return JUDGE.decide("Bash", {"command": command}).decision.status


def arguments(script: str) -> list[list[Word]]:
    return [list(part.arguments) for part in walk(parse_shell(script)) if isinstance(part, Command)]


def test_a_loop_over_plain_words_is_judged_for_each_of_them() -> None:
    found = arguments('for f in a src/*.py; do cat "$f" "x/${f}.bak" $f; done')
    assert [[word.text for word in words] for words in found] == [
        ["a", "x/a.bak", ""],
        ["src/*.py", "x/src/*.py.bak", ""],
    ]
    assert [[word.dynamic for word in words] for words in found] == [
        [False, False, True],
        [False, False, True],
    ]
    assert found[1][0].globbed


@pytest.mark.parametrize(
    "script",
    [
        'for f in a; do f=b; cat "$f"; done',
        'for f in a; do read f; cat "$f"; done',
        'for f in a; do printf -v f b; cat "$f"; done',
        'for f in a; do : ${f:=b}; cat "$f"; done',
        'for f in a; do :; done; cat "$f"',
        'for f in $x; do cat "$f"; done',
        "IFS=a; for f in xay; do cat $f; done",
        """eval "I""FS=x"; for f in axid_rsa; do cat $f; done""",
        "for f in " + " ".join("abcdefghijk") + '; do cat "$f"; done',
        'for x in a b c d e f; do for y in a b c d e f; do for z in a b c; do cat "$z"; done; done; done',
    ],
)
def test_a_value_that_may_be_another_is_not_known(script: str) -> None:
    assert any(word.dynamic for words in arguments(script) for word in words)
    assert status(script) == "review_required"


def test_a_message_may_be_what_only_the_shell_knows_as_long_as_it_is_one_word() -> None:
    assert status("git commit -m \"$(cat <<'EOF'\nFix it\nEOF\n)\"") == "approved"
    for message in ("$(cat notes.txt)", '"$@"', '"${@}"', "$X", '"a"$X'):
        assert status(f"git commit -m {message}") == "review_required", message


@pytest.mark.parametrize("option", ["-I{}", "-I {}", "-I X -I {}"])
def test_what_xargs_puts_in_is_known_to_nobody(option: str) -> None:
    assert status(f"ls | xargs {option} echo a{{}}b") == "approved"
    assert status(f"ls | xargs {option} cat src/{{}}") == "review_required"
    assert status(f"ls | xargs {option} {{}} x") == "review_required"


def test_a_copy_is_judged_by_what_it_becomes() -> None:
    assert status("cp src/a.py docs/a.py") == status("mv src/a.py lib") == "approved"
    for command in (
        "cp x/workflows .github",
        "mv x .venv",
        "cp x/package.json web",
        "cp x/. web",
        "mv src/a.py /tmp/a.log",
    ):
        assert status(command) == "review_required", command
    assert status("cp x/hooks .git") == "blocked"
