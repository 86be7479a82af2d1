"""What must be sent to make the bridge's tree equal to a source tree: pure comparison and order."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from lighthouse_agent.answers import TreeFile
from lighthouse_agent.source import Entry


@dataclass(frozen=True)
class Change:
    """One step: create or update to `entry`, or delete `path` when there is none."""

    operation: str
    path: str
    entry: Entry | None = None


@dataclass(frozen=True)
class Plan:
    """The steps in the order to send them, and what is equal already."""

    changes: list[Change]
    unchanged: int

    def count(self, operation: str) -> int:
        """How many steps do this: create, update or delete."""
        return sum(change.operation == operation for change in self.changes)

    @property
    def size(self) -> int:
        """Bytes of content in all steps."""
        return sum(change.entry.size for change in self.changes if change.entry is not None)


def compare(entries: Iterable[Entry], present: Iterable[TreeFile], *, keep_missing: bool = False) -> Plan:
    """Steps from `present` to `entries`; with `keep_missing` only what stands in the way is deleted.

    What stands in the way (a file where a folder must be, or the other way round) goes first; all else that
    is gone goes last, so that a reader of a half-loaded tree misses nothing that stays.
    """
    wanted = {entry.path: entry for entry in entries}
    known = {file.path: file for file in present}
    folders = {folder for path in wanted for folder in _parents(path)}
    first: list[Change] = []
    last: list[Change] = []
    for path in known:
        if path in wanted:
            continue
        if path in folders or any(parent in wanted for parent in _parents(path)):
            first.append(Change("delete", path))
        elif not keep_missing:
            last.append(Change("delete", path))
    changes = [
        Change("update" if path in known else "create", path, entry)
        for path, entry in wanted.items()
        if not _equal(entry, known.get(path))
    ]
    return Plan([*first, *changes, *last], unchanged=len(wanted) - len(changes))


def _equal(entry: Entry, file: TreeFile | None) -> bool:
    return file is not None and (entry.kind, entry.executable, entry.sha256) == (
        file.kind,
        file.executable,
        file.sha256,
    )


def _parents(path: str) -> Iterable[str]:
    while path := posixpath.dirname(path):
        yield path
