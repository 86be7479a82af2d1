"""The examples of docs/cli.md are what the commands print."""

import re
import shlex
from pathlib import Path

import pytest

from tests.images.agent.commands import lighthouse
from tests.images.agent.support import REPOSITORY, Bridge

pytestmark = pytest.mark.heavy  # starts dozens of processes

DOCUMENT = REPOSITORY / "docs" / "cli.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ID = re.compile(r"\b[0-9a-f]{16}(?:[0-9a-f]{16})?\b")
# What differs from run to run: ids, times, the rules' version, the last sequence and how long the bridge is up.
_VARYING = [
    (_ID, "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r"\b(version|rules) +[0-9a-f]{12}\b"), r"\1 VERSION"),
    (re.compile(r"\b\d+ rules of"), "N rules of"),
    (re.compile(r"(last event +)\d+"), r"\1N"),
    (re.compile(r"\d+\.\d h"), "N h"),
    (re.compile(r" +"), " "),
]
STDIN = 'print("hello")\n'


def normal(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return [line.rstrip() for line in text.splitlines()]


def examples(text: str) -> list[tuple[str, str]]:
    """Each command of the document's console blocks with what it prints."""
    found: list[tuple[str, str]] = []
    for kind, block in _BLOCK.findall(text):
        if kind == "console":
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output))
    return found


def cases(text: str) -> str:
    """The document's file of cases."""
    (block,) = [block for kind, block in _BLOCK.findall(text) if kind == "yaml"]
    return str(block)


@pytest.fixture
def world(env: dict[str, str], stopped_bridge: Bridge, tmp_path: Path) -> dict[str, str]:
    """An environment for a bridge that nobody has asked anything yet."""
    (tmp_path / "cases.yaml").write_text(cases(DOCUMENT.read_text()))
    (tmp_path / "policies").symlink_to(REPOSITORY / "policies")
    return {
        **env,
        "LIGHTHOUSE_BRIDGE_URL": stopped_bridge.url,
        "LIGHTHOUSE_KEY_FILE": str(stopped_bridge.key_file("operator")),
        "LIGHTHOUSE_AGENT_ID": "olga",
        "COLUMNS": "150",
    }


def test_every_example_prints_what_the_document_says(
    world: dict[str, str], stopped_bridge: Bridge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = examples(DOCUMENT.read_text())
    assert len(listed) >= 12
    ids: dict[str, str] = {}
    wrong = []
    with stopped_bridge.running():
        for command, expected in listed:
            words = [ids.get(word, word) for word in shlex.split(command)]
            assert words[0] == "lighthouse", command
            done = lighthouse(world, *words[1:], stdin=STDIN)
            actual = done.out + done.err
            ids |= dict(zip(_ID.findall(expected), _ID.findall(actual), strict=False))
            if normal(actual) != normal(expected):
                wrong.append(f"$ {command}\n{actual}")
    assert not wrong, "\n".join(["docs/cli.md shows something else than:", *wrong])
