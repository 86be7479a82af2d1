"""What Codex's patches are judged as: every file they touch, and nothing that could be read in two ways."""

import json
from pathlib import Path
from typing import Any

import pytest

from lighthouse_agent.patches import MAX_FILES, read_patch

PAYLOAD: dict[str, Any] = json.loads(
    (Path(__file__).parent / "payloads" / "codex-apply-patch.json").read_text()
)


def patch(*lines: str) -> str:
    return "\n".join(("*** Begin Patch", *lines, "*** End Patch"))


def test_a_patch_becomes_a_call_for_each_file() -> None:
    assert read_patch(PAYLOAD["tool_input"]["command"]) == [
        ("Write", {"file_path": "src/new.py", "content": "import os\n\nprint(os.name)\n"}),
        (
            "Edit",
            {
                "file_path": "src/main.py",
                "old_string": "def main():\n    print('hello')",
                "new_string": "def main():\n    print('hello, world')",
            },
        ),
        ("Write", {"file_path": "src/entry.py", "content": "def main():\n    print('hello, world')"}),
        ("Bash", {"command": "rm -- src/old.py"}),
    ]


def test_a_header_after_added_lines_is_found_however_it_is_indented() -> None:
    found = read_patch(patch("*** Add File: a", "+x", "  *** Delete File: b c"))
    assert found == [("Write", {"file_path": "a", "content": "x\n"}), ("Bash", {"command": "rm -- 'b c'"})]


def test_an_update_may_have_several_hunks_and_reach_the_end_of_the_file() -> None:
    found = read_patch(
        patch("*** Update File: a", "@@", "-x", "+y", "", "@@ f", " z", "+w", "*** End of File")
    )
    assert found == [("Edit", {"file_path": "a", "old_string": "x\n\nz", "new_string": "y\n\nz\nw"})]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ls",
        patch(),
        patch("*** Add File: "),
        patch("*** Rename File: a"),
        patch("*** Update File: a", "*** Move to: ", "+x"),
        patch("*** Update File: a", "@@", "x"),
        patch("*** Update File: a", "@@", " *** Delete File: b"),
        patch("*** Update File: a", "@@", "+x", "*** Unknown", "+y"),
        patch("*** Add File: a", "+x", "junk"),
        patch("*** Add File: a", "+x") + "\nrm -rf /",
        "echo\n" + patch("*** Add File: a", "+x"),
        patch(*(f"*** Delete File: {number}" for number in range(MAX_FILES + 1))),
    ],
)
def test_what_is_no_plain_patch_is_left_as_it_is(text: str) -> None:
    assert read_patch(text) is None
