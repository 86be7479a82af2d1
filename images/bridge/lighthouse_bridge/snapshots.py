"""Snapshots of the project's tree: what it held after an event, kept as one checked document."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .events import EventType
from .problems import Problem
from .tree import Entry, read_tree

if TYPE_CHECKING:
    from .transactions import Connection, Transaction

EVERY_EVENTS = 10_000
EVERY_US = 6 * 3600 * 1_000_000
EVERY_BYTES = 500 * 1024 * 1024
KEPT_US = 30 * 86_400 * 1_000_000
KEPT = 100
VERSION = 1


class Snapshot(msgspec.Struct, frozen=True):
    """A document ready to be stored; `digest` is the SHA-256 of its state's JSON."""

    sequence: int
    digest: str
    files: int
    body: bytes


class Listed(msgspec.Struct, frozen=True):
    """A snapshot as it is listed; `automatic` ones go when they are old or many."""

    name: str
    sequence: int
    created_us: int
    digest: str
    size: int
    automatic: bool


def build_snapshot(connection: Connection, name: str, timestamp_us: int) -> Snapshot:
    """The tree as it is now. `connection` must see one moment."""
    sequence, files = read_tree(connection, None, "")
    state = msgspec.json.encode({"files": files})
    digest = hashlib.sha256(state).hexdigest()
    document = {
        "id": name,
        "sequence": sequence,
        "timestamp": iso(timestamp_us),
        "state": msgspec.Raw(state),
        "metadata": {"sha256": digest, "files": len(files)},
        "version": VERSION,
    }
    body = gzip.compress(msgspec.json.encode(document), 6, mtime=0)
    return Snapshot(sequence, digest, len(files), body)


def store_snapshot(
    transaction: Transaction, name: str, snapshot: Snapshot, agent_id: str, *, automatic: bool
) -> int:
    """Keep a snapshot and say so with an event; returns its time in microseconds. Raises Problem 409 for a name
    that is taken."""
    connection = transaction.connection
    if connection.execute("SELECT 1 FROM snapshots WHERE name = ?", (name,)).fetchone():
        raise Problem(409, f"A snapshot {name!r} exists already; choose another name.")
    connection.execute(
        "INSERT INTO snapshots (name, sequence, created_us, digest, automatic, body) VALUES (?,?,?,?,?,?)",
        (name, snapshot.sequence, transaction.now_us, snapshot.digest, int(automatic), snapshot.body),
    )
    data = {"name": name, "sequence": snapshot.sequence, "sha256": snapshot.digest, "files": snapshot.files}
    transaction.append(EventType.SNAPSHOT_CREATED, agent_id, None, data)
    _forget_old(transaction)
    return transaction.now_us


def _forget_old(transaction: Transaction) -> None:
    transaction.connection.execute(
        "DELETE FROM snapshots WHERE automatic = 1 AND (created_us <= ? OR name NOT IN ("
        "SELECT name FROM snapshots WHERE automatic = 1 ORDER BY sequence DESC LIMIT ?))",
        (transaction.now_us - KEPT_US, KEPT),
    )


def is_snapshot_due(connection: Connection, now: int) -> bool:
    """Whether enough happened since the last automatic snapshot: events, hours or bytes."""
    row = connection.execute(
        "SELECT sequence, created_us FROM snapshots WHERE automatic = 1 ORDER BY sequence DESC LIMIT 1"
    ).fetchone()
    last, began = connection.execute(
        "SELECT coalesce(max(sequence_id), 0), coalesce(min(timestamp), ?) FROM events", (now,)
    ).fetchone()
    since, made = row or (0, began)
    # The event that tells of a snapshot is no reason for another one.
    if last <= since + 1:
        return False
    if last - since >= EVERY_EVENTS or now - made >= EVERY_US:
        return True
    (size,) = connection.execute(
        "SELECT coalesce(sum(length(event_data)), 0) FROM events WHERE sequence_id > ?", (since,)
    ).fetchone()
    return int(size) >= EVERY_BYTES


def list_snapshots(connection: Connection) -> list[Listed]:
    """All snapshots, the latest first."""
    rows = connection.execute(
        "SELECT name, sequence, created_us, digest, length(body), automatic FROM snapshots "
        "ORDER BY sequence DESC, created_us DESC"
    ).fetchall()
    return [Listed(row[0], row[1], row[2], row[3], row[4], bool(row[5])) for row in rows]


def open_snapshot(connection: Connection, name: str) -> tuple[int, list[Entry]]:
    """The sequence and the files of a snapshot; raises Problem 404, or 409 when it is not what was stored."""
    row = connection.execute("SELECT body, digest FROM snapshots WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise Problem(404, f"There is no snapshot {name[:80]!r}; see GET /snapshots.")
    try:
        document = msgspec.json.decode(gzip.decompress(row[0]), type=_Document)
    except (OSError, EOFError, msgspec.MsgspecError):
        raise _damaged(name) from None
    if hashlib.sha256(document.state).hexdigest() != row[1]:
        raise _damaged(name)
    state: dict[str, Any] = msgspec.json.decode(document.state)
    return document.sequence, [tuple(file) for file in state["files"]]


class _Document(msgspec.Struct):
    sequence: int
    state: msgspec.Raw


def _damaged(name: str) -> Problem:
    return Problem(409, f"The snapshot {name!r} is damaged; restore the tree of its sequence instead.")
