"""Reads a source tree from disk: which files belong to it, and what each holds."""

import hashlib
import itertools
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from lighthouse_agent import git
from lighthouse_agent.errors import SourceError, one_line

MAX_FILE_BYTES = 100 * 1024 * 1024
MAX_PATH_BYTES = 4096
MAX_PART_BYTES = 255
_SHOWN_PROBLEMS = 20
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """One file or symlink of the tree; size in bytes, for a symlink that of its target's name."""

    path: str
    kind: str
    executable: bool
    size: int
    sha256: str


@dataclass
class Source:
    """A tree as it was read: what can be loaded, and what cannot with the reason."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_tree(
    root: Path, *, all_files: bool = False, report: Callable[[int, int], None] = lambda _files, _bytes: None
) -> Source:
    """Read every file of the tree at `root`; `report` gets the files and bytes read so far.

    In a git work tree these are the tracked files and the untracked that are not ignored; elsewhere, and with
    `all_files`, all but `.git`. Raises SourceError that names every file that could not be read.
    """
    if not root.is_dir():
        raise SourceError(f"Source tree {root} is not a folder that can be read; give the path of a project.")
    problems: list[str] = []
    source = Source(root)
    size = 0
    for path in _paths(root, problems, all_files=all_files):
        try:
            entry = _read_entry(root, path, source.skipped)
        except OSError as error:
            problems.append(f"{show(path)} ({error.strerror})")
            continue
        if entry is not None:
            source.entries.append(entry)
            size += entry.size
            report(len(source.entries), size)
    if problems:
        raise SourceError(_unreadable(root, problems))
    if not source.entries:
        raise SourceError(f"Source tree {root} holds no file to load; check the path.")
    return source


def read_links(root: Path) -> dict[str, str]:
    """The targets of the symlinks among the files that `read_tree` would read, by path; raises SourceError."""
    problems: list[str] = []
    found = {
        path: str((root / path).readlink())
        for path in _paths(root, problems)
        if (root / path).is_symlink() and _read_entry(root, path, [])
    }
    if problems:
        raise SourceError(_unreadable(root, problems))
    return found


def open_file(root: Path, path: str) -> BinaryIO:
    """Open a regular file of the tree, never through a symlink at its end; raises OSError."""
    fd = os.open(root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return os.fdopen(fd, "rb")


def show(path: str) -> str:
    """A path as it can be printed, also when it is not UTF-8."""
    return one_line(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _paths(root: Path, problems: list[str], *, all_files: bool = False) -> list[str]:
    paths = None if all_files else git.list_files(root, problems)
    return sorted(set(_walk(root, problems) if paths is None else paths))


def _read_entry(root: Path, path: str, skipped: list[str]) -> Entry | None:
    """The entry at `path`; None when it is gone, or when the bridge cannot hold it, told in `skipped`."""
    if not _has_real_parents(root, path):
        return None
    try:
        facts = (root / path).lstat()
    except FileNotFoundError:
        return None
    reason = _unfit_name(path) or _unfit_kind(facts)
    if reason is None and stat.S_ISLNK(facts.st_mode):
        target = os.fsencode((root / path).readlink())
        reason = _unfit_target(path, target)
        if reason is None:
            return Entry(path, "symlink", False, len(target), hashlib.sha256(target).hexdigest())
    if reason is not None:
        skipped.append(f"{show(path)}: {reason}")
        return None
    digest, size = hashlib.sha256(), 0
    with open_file(root, path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Entry(path, "file", bool(facts.st_mode & stat.S_IXUSR), size, digest.hexdigest())


def _has_real_parents(root: Path, path: str) -> bool:
    """Whether all folders above are real: git goes on listing what lay where there is a link now."""
    parent = posixpath.dirname(path)
    while parent:
        try:
            if not stat.S_ISDIR(os.lstat(root / parent).st_mode):
                return False
        except FileNotFoundError:
            return False
        parent = posixpath.dirname(parent)
    return True


def _unfit_name(path: str) -> str | None:
    try:
        raw = path.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    parts = raw.split(b"/")
    if len(raw) > MAX_PATH_BYTES or any(len(part) > MAX_PART_BYTES for part in parts):
        return "its name is too long"
    return "it lies in a git folder" if any(part.lower() == b".git" for part in parts) else None


def _unfit_kind(facts: os.stat_result) -> str | None:
    if not stat.S_ISREG(facts.st_mode) and not stat.S_ISLNK(facts.st_mode):
        return "it is neither a file nor a symlink"
    if facts.st_size > MAX_FILE_BYTES:
        return f"its {facts.st_size} bytes are over the limit of {MAX_FILE_BYTES}"
    return None


def _unfit_target(path: str, target: bytes) -> str | None:
    """Why the bridge does not take this symlink: judged by names alone, since links chain."""
    try:
        text = target.decode()
    except UnicodeDecodeError:
        return "it is a symlink to a name that is not UTF-8"
    parts = [part for part in text.split("/") if part not in {"", "."}]
    up = sum(1 for _ in itertools.takewhile(lambda part: part == "..", parts))
    if text.startswith("/") or up > path.count("/"):
        return f"it is a symlink that leaves the tree (to {show(text)})"
    if ".." in parts[up:]:
        return f"it is a symlink with '..' after a name (to {show(text)}), which may leave the tree"
    return "it is a symlink into a git folder" if any(p.lower() == ".git" for p in parts) else None


def _walk(root: Path, problems: list[str]) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, root) if error.filename else "a folder"
        problems.append(f"{show(name)} ({error.strerror})")

    for folder, folders, files in os.walk(root, onerror=unreadable):
        below = Path(folder).relative_to(root)
        links = [name for name in folders if (root / below / name).is_symlink()]
        yield from (str(below / name) for name in (*files, *links) if name != ".git")
        folders[:] = [name for name in folders if name != ".git"]


def _unreadable(root: Path, problems: list[str]) -> str:
    shown = ", ".join(problems[:_SHOWN_PROBLEMS])
    more = f" and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
    return (
        f"Source tree {root} cannot be read completely, so nothing was loaded: {shown}{more}; make them "
        "readable or let git ignore them."
    )
