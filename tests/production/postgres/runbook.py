"""The commands of docs/backup.md, which are the tests' own."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from typing import TYPE_CHECKING

from ci.settings import KUBECONFIG, ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGE = ROOT / "docs" / "backup.md"
BLOCK = re.compile(r"^ *<!-- command: (\w+) -->\n *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def commands() -> dict[str, str]:
    """The page's commands by their names."""
    return {name: textwrap.dedent(text) for name, text in BLOCK.findall(PAGE.read_text())}


def run(name: str, tools: Path, variables: Mapping[str, str], seconds: float = 900) -> str:
    """What a command of the page prints; it must succeed."""
    env = dict(os.environ, **variables, KUBECONFIG=str(KUBECONFIG), PATH=f"{tools}:{os.environ['PATH']}")
    words = ["sh", "-eu", "-c", commands()[name]]
    done = subprocess.run(
        words, env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert done.returncode == 0, f"'{name}' of {PAGE.name}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
    return done.stdout
