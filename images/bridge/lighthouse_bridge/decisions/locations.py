"""Whether a path may be read or written. Pure: names only, nothing is looked up on a disk; links are those the
project's tree is known to hold."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from .verdict import Decision, Finding, Risk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .rules import Paths, RuleSet


# What is done with a path; to enter a folder is to work in it, and what becomes another may be a folder with all it
# holds.
Use = Literal["read", "write", "enter", "become"]
_ENDING = re.compile(r"\*\.[^*?\[.]+")
_WILDCARDS = re.compile(r"\[[^]]*\]|[*?]")
_EVERYTHING = frozenset({"*", ".*", "**"})
# As long as a kernel takes.
MAX_PATH = 4096
# As many links as a kernel follows.
_MAX_LINKS = 40


class Locations:
    """The places of one rule set. Relative paths are the project's; `roots` are its absolute names; `links` are
    its symbolic links, path to target."""

    def __init__(self, rules: RuleSet, roots: tuple[str, ...], links: Mapping[str, str]) -> None:
        self._rules = rules
        self._paths: Paths = rules.paths
        self._roots = tuple(root.rstrip("/") for root in (*self._paths.project_roots, *roots))
        self._secret, self._public = _Names(self._paths.secret), _Names(self._paths.public)
        self._protected, self._critical = _Names(self._paths.protected), _Names(self._paths.critical)
        self._generated = _Names(self._paths.generated)
        self._holders = _Names(sorted(_holders(self._paths.secret)))
        kept = [*self._paths.protected, *self._paths.critical]
        self._kept_holders = _Names(sorted({*_parents(kept), *self._paths.generated}))
        self._kept_samples = tuple(
            {part.replace("*", "x") for name in kept for part in name.split("/") if part}
        )
        # What a secret file may be called, to hold against a pattern for file names.
        names = [name.rsplit("/", 1)[-1] for name in self._paths.secret]
        folders = [part for name in _holders(self._paths.secret) for part in name.split("/")]
        self._folder_samples = tuple(name for name in [*folders, *self._paths.secret] if "/" not in name)
        self._samples = tuple(name.replace("*", "x") for name in names)
        self._endings = tuple(name.replace("*", "x") for name in names if name.startswith(("*.", ".")))
        # Links may lead to links, so one is found by its name, wherever it is.
        self._links: dict[str, list[str]] = {}
        for path, target in links.items():
            resolved = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            self._links.setdefault(posixpath.basename(path), []).append(resolved)

    def judge(self, path: str, use: Use, *, globbed: bool = False) -> Finding | None:
        """A finding when the path, or what a link in it leads to, may not simply be used so."""
        if len(path) > MAX_PATH:
            what = "is longer than any path; name a file of the project"
            return self._found(Decision.REVIEW, Risk.HIGH, "path.too-long", path, what)
        found = self._judge_name(path, use, globbed)
        if not self._links or (found is not None and found.decision is Decision.BLOCK):
            return found
        for target in self._behind_links(path, globbed):
            other = self._judge_name(target, use, globbed=False)
            if other is not None and (found is None or other.decision > found.decision):
                found = _linked(other, path)
        return found

    def is_inside(self, path: str) -> bool:
        """Whether the path is within the project and may be read."""
        return self._inside(path) is not None and self.judge(path, "read") is None

    def is_root(self, path: str) -> bool:
        """Whether a path is the project's root, or a pattern for everything in it."""
        head, tail = posixpath.split(path)
        return self._inside((head or ".") if tail in _EVERYTHING else path) == ""

    def tidy(self, folder: str) -> str:
        """A folder's shortest name; behind a link `..` is another folder than its name says, so it is kept."""
        if self._links:
            return folder
        normal = posixpath.normpath(folder) if folder else ""
        return "" if normal == "." else normal

    def _behind_links(self, path: str, globbed: bool) -> Iterator[str]:
        """Every path of the project that `path` may mean when parts of it are links."""
        seen: set[str] = set()
        pending = [path]
        while pending and len(seen) < _MAX_LINKS:
            parts = [part for part in pending.pop().split("/") if part not in {"", "."}]
            for position, part in enumerate(parts):
                for target in self._targets(part, globbed):
                    candidate = posixpath.normpath("/".join([target, *parts[position + 1 :]]))
                    if candidate not in seen:
                        seen.add(candidate)
                        pending.append(candidate)
                        yield candidate

    def _targets(self, part: str, globbed: bool) -> list[str]:
        if not globbed or not _WILDCARDS.search(part):
            return self._links.get(part, [])
        return [to for name, targets in self._links.items() if fnmatchcase(name, part) for to in targets]

    def _judge_name(self, path: str, use: Use, globbed: bool) -> Finding | None:
        inside = self._inside(path)
        names = posixpath.normpath(path) if inside is None else inside
        parts = [part for part in names.split("/") if part]
        what = "may hold secrets; ask the operator for what you need of it"
        # A public name excuses itself, not the folder it lies in.
        pattern = self._secret.find(parts[:-1] if self._public.find(parts[-1:]) else parts)
        if pattern:
            return self._found(Decision.BLOCK, Risk.HIGH, "path.secret", path, what, pattern)
        if self._holders.ends(parts):
            what = "is a folder that may hold secrets; name the file you mean"
            return self._found(Decision.REVIEW, Risk.HIGH, "path.secret", path, what)
        if globbed and self._may_be_secret(parts):
            what = "may name files that hold secrets; name the files you mean"
            return self._found(Decision.REVIEW, Risk.HIGH, "path.secret", path, what)
        if inside is None:
            return self._outside(path, names, use)
        if use != "read" and (pattern := self._protected.find(parts)):
            what = "is protected; use the tool that owns it"
            return self._found(Decision.BLOCK, Risk.HIGH, "path.protected", path, what, pattern)
        changes = use in {"write", "become"}
        return (self._changing(path, parts, use, globbed) or self._writing(path, parts)) if changes else None

    def _changing(self, path: str, parts: list[str], use: Use, globbed: bool) -> Finding | None:
        """What may be protected, since the path is a folder or a pattern for names."""
        if use == "become" and self._kept_holders.ends(parts):
            what = "is a folder that may hold protected files; name the file you mean"
            return self._found(Decision.REVIEW, Risk.HIGH, "path.protected", path, what)
        if globbed and self._may_be_kept(parts):
            what = "may name files that are protected; name the files you mean"
            return self._found(Decision.REVIEW, Risk.HIGH, "path.protected", path, what)
        return None

    def _writing(self, path: str, parts: list[str]) -> Finding | None:
        if not parts:
            what = "is the project's root itself; name a file in it"
            return self._found(Decision.REVIEW, Risk.MEDIUM, "path.root", path, what)
        pattern = self._generated.find(parts[:-1])
        if pattern:
            what = "is made by a tool; change what it is made from or wait for the review"
            return self._found(Decision.REVIEW, Risk.MEDIUM, "path.generated", path, what, pattern)
        # Hidden names are critical as folders too; others may be any folder's, such as `head` or `license`.
        hidden = [part for part in parts[:-1] if part.startswith(".")]
        pattern = self._critical.find([*hidden, parts[-1]]) or self._critical.find_long(parts)
        if pattern:
            what = "is a critical file of the project; wait for the review of this change"
            return self._found(Decision.REVIEW, Risk.MEDIUM, "path.critical", path, what, pattern)
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

    def _outside(self, path: str, normal: str, use: Use) -> Finding | None:
        write = use in {"write", "become"}
        if normal.startswith("//"):
            normal = normal[1:]
        allowed = self._paths.writable if write else (*self._paths.readable, *self._paths.writable)
        # Whoever moves a file out of the project takes it away.
        if use != "become" and any(fnmatchcase(normal, pattern) for pattern in allowed):
            return None
        system = next(
            (place for place in self._paths.system if normal == place or normal.startswith(place + "/")), ""
        )
        if write and system:
            what = "belongs to the system; stay in the project"
            return self._found(Decision.BLOCK, Risk.CRITICAL, "path.system", path, what, system)
        what = "is outside the project; copy what you need into it or wait for the review"
        return self._found(Decision.REVIEW, Risk.HIGH, "path.outside", path, what)

    def _may_be_secret(self, parts: list[str]) -> bool:
        if any(_may_name(part, self._folder_samples) for part in parts[:-1]):
            return True
        last = parts[-1] if parts else ""
        # "*.json" aims at an ending that most files have which are no secrets: only the rest of a name tells.
        return _may_name(last, self._endings if _ENDING.fullmatch(last) else self._samples)

    def _may_be_kept(self, parts: list[str]) -> bool:
        patterns = [part.casefold() for part in parts if _WILDCARDS.search(part)]
        return any(fnmatchcase(name, pattern) for pattern in patterns for name in self._kept_samples)

    def _found(
        self, decision: Decision, risk: Risk, rule: str, path: str, what: str, pattern: str = ""
    ) -> Finding:
        shown = path if len(path) <= 100 else path[:97] + "…"
        origin = self._rules.origin(rule, pattern)
        return Finding(decision, risk, rule, shown, f"The path {shown!r} {what}.", origin)


def _may_name(pattern: str, names: Iterable[str]) -> bool:
    """Whether a pattern for file names aims at one of these."""
    aim = _WILDCARDS.sub("", pattern)
    # "*" alone does not aim at anything: it is what a recursive search reads as well.
    if aim == pattern or (len(aim) < 2 and not aim.startswith(".")):
        return False
    return any(
        fnmatchcase(name, pattern) and (pattern[:1] == "." or not name.startswith(".")) for name in names
    )


def _holders(patterns: list[str]) -> set[str]:
    """The hidden folders that a secret lies in: who reads such a folder as a whole reads the secret."""
    return {
        "/".join(parts[:count])
        for parts in (pattern.split("/") for pattern in patterns)
        for count in range(1, len(parts))
        if parts[0].startswith(".")
    }


def _parents(patterns: list[str]) -> set[str]:
    """The folders that patterns of several parts lie in."""
    several = [pattern.split("/") for pattern in patterns if not pattern.startswith("/")]
    return {"/".join(parts[:count]) for parts in several for count in range(1, len(parts))}


def _linked(finding: Finding, path: str) -> Finding:
    shown = path if len(path) <= 100 else path[:97] + "…"
    reason = f"The path {shown!r} leads through a link: t{finding.reason[1:]}"
    return Finding(finding.decision, finding.risk, finding.rule, shown, reason, finding.layer)


class _Names:
    """Patterns for names, sorted so that plain names cost one lookup a part."""

    def __init__(self, patterns: list[str]) -> None:
        self._plain: dict[str, str] = {}
        self._wild: list[str] = []
        self._long: list[tuple[list[str], str]] = []
        self._wild_long = {pattern for pattern in patterns if _WILDCARDS.search(pattern)}
        for pattern in patterns:
            if "/" in pattern:
                self._long.append((pattern.split("/"), pattern))
            elif _WILDCARDS.search(pattern):
                self._wild.append(pattern)
            else:
                self._plain[pattern] = pattern

    def find(self, parts: list[str]) -> str:
        """The pattern that a part, or several in a row, match; an empty text for none."""
        folded = [part.casefold() for part in parts]
        for part in folded:
            if part in self._plain:
                return part
            for pattern in self._wild:
                if fnmatchcase(part, pattern):
                    return pattern
        return self.find_long(folded)

    def find_long(self, parts: list[str]) -> str:
        """The pattern that several parts in a row match; one that begins with a slash speaks of the root alone."""
        folded = [part.casefold() for part in parts]
        for wanted, pattern in self._long:
            first = wanted[0] == ""
            names = wanted[1:] if first else wanted
            last = 0 if first else len(folded) - len(names)
            plain = pattern not in self._wild_long
            for start in range(last + 1):
                row = folded[start : start + len(names)]
                if row == names if plain else len(row) == len(names) and all(map(fnmatchcase, row, names)):
                    return pattern
        return ""

    def ends(self, parts: list[str]) -> str:
        """The pattern that the last parts match."""
        for part in parts[-1:]:
            if part.casefold() in self._plain:
                return part
        return next(
            (
                pattern
                for wanted, pattern in self._long
                if len(parts) >= len(wanted) and self.find_long(parts[-len(wanted) :]) == pattern
            ),
            "",
        )
