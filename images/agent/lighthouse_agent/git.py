"""Asks git which files belong to a work tree."""

import os
import subprocess
from pathlib import Path

from lighthouse_agent.errors import SourceError, one_line

_WAY_OUT = "correct that, or pass --all-files to load every file but .git."


def list_files(root: Path, problems: list[str]) -> list[str] | None:
    """Paths below `root` that are tracked, or untracked and not ignored; None outside a work tree.

    Names are decoded as file names are (surrogateescape). Work trees inside, such as submodules, are listed
    by their own rules. Folders that git could not enter are added to `problems`. Raises SourceError.
    """
    try:
        answer = _git(root, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError:
        if not any((folder / ".git").exists() for folder in (root.absolute(), *root.absolute().parents)):
            return None
        raise SourceError(f"Source tree {root} is a git work tree, but there is no git; {_WAY_OUT}") from None
    if answer.returncode != 0 and b"not a git repository" in answer.stderr:
        return None
    if answer.returncode != 0:
        raise _failed(root, answer.stderr)
    return _list(root, problems) if answer.stdout.strip() == b"true" else None


def _list(root: Path, problems: list[str]) -> list[str]:
    answer = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if answer.returncode != 0:
        raise _failed(root, answer.stderr)
    warnings = _text(answer.stderr).splitlines()
    mark = "could not open directory "
    problems.extend(one_line(line.partition(mark)[2]) for line in warnings if mark in line)
    files: list[str] = []
    for path in (os.fsdecode(raw).rstrip("/") for raw in answer.stdout.split(b"\0") if raw):
        inner = root / path
        if inner.is_symlink() or not inner.is_dir():
            files.append(path)
        elif (inner / ".git").exists():
            files.extend(f"{path}/{below}" for below in _list(inner, problems))
    return files


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # A repository's own settings must not start programs, and variables must not point to another one.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(root), "-c", "core.fsmonitor=false", *arguments]
    return subprocess.run(
        command, env={**env, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )


def _failed(root: Path, stderr: bytes) -> SourceError:
    why = one_line(_text(stderr)) or "no reason given"
    return SourceError(f"git cannot list the files of {root} ({why}); {_WAY_OUT}")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
