"""Paths of the project's tree: relative, POSIX, contained. Pure."""

from __future__ import annotations

import posixpath

# A path names the aggregate of its events, and must fit where those are indexed.
MAX_PATH_BYTES = 2_000
MAX_PART_BYTES = 255
# What the project is held by, such as its own rules.
OPERATORS_FOLDER = ".lighthouse/"
PROTECTED_PARTS = frozenset({".git"})
CRITICAL_FILES = frozenset(
    {
        "package.json",
        "pyproject.toml",
        "go.mod",
        "Cargo.toml",
        "Dockerfile",
        "Containerfile",
        "Makefile",
        "README.md",
    }
)


class PathError(ValueError):
    """A path that cannot name a file of the tree; the message is one sentence."""


def check_path(path: str) -> str:
    """Return `path` when it may name a file of the tree, else raise PathError saying what is wrong."""
    shown = path if len(path) <= 80 else path[:77] + "…"
    if not path:
        raise PathError("The path is empty; name a file relative to the project's root.")
    if "\0" in path:
        raise PathError(f"The path {shown!r} contains a NUL character.")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise PathError(f"The path {shown!r} is not valid Unicode.") from None
    if size > MAX_PATH_BYTES:
        raise PathError(f"The path {shown!r} has {size} bytes; at most {MAX_PATH_BYTES} are allowed.")
    if path.startswith("/"):
        raise PathError(f"The path {shown!r} is absolute; name it relative to the project's root.")
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            raise PathError(
                f"The path {shown!r} has the part {part!r}; name the file without empty, '.' or '..' parts."
            )
        if len(part.encode()) > MAX_PART_BYTES:
            raise PathError(f"The path {shown!r} has a part of more than {MAX_PART_BYTES} bytes.")
        if part.casefold() in PROTECTED_PARTS:
            raise PathError(
                f"The path {shown!r} has the protected part {part!r}; it is not kept in the tree."
            )
    return path


def check_symlink(path: str, target: str) -> str:
    """Return `target` when the symlink at `path` stays inside the tree, else raise PathError."""
    if not target or "\0" in target or len(target.encode()) > MAX_PATH_BYTES:
        raise PathError(f"The target of the symlink {path!r} is empty, too long or contains a NUL.")
    if target.startswith("/"):
        raise PathError(f"The symlink {path!r} points to the absolute path {target!r}; use a relative one.")
    resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if resolved == ".." or resolved.startswith("../"):
        raise PathError(f"The symlink {path!r} points to {target!r}, which leaves the project's tree.")
    # Normalising is not resolving: "x/../.." passes through whatever x links to, so going up is only
    # allowed before the first downward part.
    parts = [part for part in target.split("/") if part not in {"", "."}]
    down = False
    for part in parts:
        if part == ".." and down:
            raise PathError(f"The symlink {path!r} has '..' after a name in its target {target!r}.")
        down = down or part != ".."
    if any(part.casefold() in PROTECTED_PARTS for part in parts):
        raise PathError(f"The symlink {path!r} points into a protected folder with {target!r}.")
    return target
