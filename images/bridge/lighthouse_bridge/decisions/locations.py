"""Whether a path may be read or written. Pure: names only, nothing is looked up on a disk."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from .verdict import Decision, Finding, Risk

if TYPE_CHECKING:
    from .rules import Paths


_WILDCARDS = re.compile(r"\[[^]]*\]|[*?]")


class Locations:
    """The places of one rule set. Relative paths are the project's; `roots` are its absolute names."""

    def __init__(self, paths: Paths, roots: tuple[str, ...]) -> None:
        self._paths = paths
        self._roots = tuple(root.rstrip("/") for root in (*paths.project_roots, *roots))
        # What a secret file may be called, to hold against a pattern for file names.
        self._samples = tuple(name.rsplit("/", 1)[-1].replace("*", "x") for name in paths.secret)

    def judge(self, path: str, *, write: bool, globbed: bool = False) -> Finding | None:
        """A finding when the path may not simply be read or written, else None."""
        inside = self._inside(path)
        names = posixpath.normpath(path) if inside is None else inside
        parts = [part for part in names.split("/") if part]
        what = "may hold secrets; ask for what you need of it"
        if _matches(parts, self._paths.secret):
            return _found(Decision.BLOCK, Risk.HIGH, "path.secret", path, what)
        if globbed and self._may_be_secret(parts):
            return _found(Decision.REVIEW, Risk.HIGH, "path.secret", path, what)
        if inside is None:
            return self._outside(path, names, write)
        return self._writing(path, parts) if write else None

    def _writing(self, path: str, parts: list[str]) -> Finding | None:
        if not parts:
            return _found(Decision.REVIEW, Risk.MEDIUM, "path.root", path, "is the project's root itself")
        if _matches(parts, self._paths.protected):
            what = "is protected; use the tool that owns it"
            return _found(Decision.BLOCK, Risk.HIGH, "path.protected", path, what)
        if _matches(parts[-1:], self._paths.critical):
            what = "is a critical file of the project"
            return _found(Decision.REVIEW, Risk.MEDIUM, "path.critical", path, what)
        return None

    def _inside(self, path: str) -> str | None:
        """The path relative to the project, or None when it leaves it."""
        if path.startswith("~"):
            return None
        if path.startswith("/"):
            normal = posixpath.normpath("/" + path.lstrip("/"))
            for root in self._roots:
                if normal == root or normal.startswith(root + "/"):
                    return normal[len(root) + 1 :]
            return None
        normal = posixpath.normpath(path) if path else ""
        return None if normal == ".." or normal.startswith("../") else "" if normal == "." else normal

    def _outside(self, path: str, normal: str, write: bool) -> Finding | None:
        if normal.startswith("//"):
            normal = normal[1:]
        allowed = self._paths.writable if write else (*self._paths.readable, *self._paths.writable)
        if any(fnmatchcase(normal, pattern) for pattern in allowed):
            return None
        if write and any(normal == place or normal.startswith(place + "/") for place in self._paths.system):
            return _found(
                Decision.BLOCK,
                Risk.CRITICAL,
                "path.system",
                path,
                "belongs to the system; stay in the project",
            )
        return _found(Decision.REVIEW, Risk.HIGH, "path.outside", path, "is outside the project")

    def _may_be_secret(self, parts: list[str]) -> bool:
        last = parts[-1] if parts else ""
        # "*" alone does not aim at anything: it is what a recursive search reads as well.
        aim = _WILDCARDS.sub("", last)
        if aim == last or (len(aim) < 2 and not aim.startswith(".")):
            return False
        return any(
            fnmatchcase(sample, last) and (last[:1] == "." or not sample.startswith("."))
            for sample in self._samples
        )


def _matches(parts: list[str], patterns: list[str]) -> bool:
    for pattern in patterns:
        wanted = pattern.split("/")
        for start in range(len(parts) - len(wanted) + 1):
            window = parts[start : start + len(wanted)]
            if all(fnmatchcase(a.casefold(), b) for a, b in zip(window, wanted, strict=True)):
                return True
    return False


def _found(decision: Decision, risk: Risk, rule: str, path: str, what: str) -> Finding:
    shown = path if len(path) <= 100 else path[:97] + "…"
    return Finding(decision, risk, rule, shown, f"The path {shown!r} {what}.")
