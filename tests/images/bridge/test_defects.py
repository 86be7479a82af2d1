"""docs/defects.md names tests that there are, one for each defect."""

import ast
import re

from tests.images.bridge.support import REPOSITORY


def test_every_defect_has_a_test_of_its_own() -> None:
    text = (REPOSITORY / "docs" / "defects.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| Was ")]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) == len(rows) >= 25
    assert len(set(named)) == len(named)
    missing = []
    for path, name in named:
        source = REPOSITORY / path
        tree = ast.parse(source.read_text()) if source.exists() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{path}::{name}")
    assert not missing, missing
