"""The project's tree: changes become events, and the tree at any past moment can be read."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any

import msgspec

from .blobs import Blob, blob_facts, put_blob, read_blob
from .clock import iso
from .events import EventType
from .paths import CRITICAL_FILES, check_symlink
from .problems import Problem

if TYPE_CHECKING:
    from .transactions import Connection, Transaction

_TYPES = mimetypes.MimeTypes(filenames=())


class Change(msgspec.Struct, frozen=True):
    """One checked change. `blob` holds new content; without it `content_hash` names stored content."""

    operation: str
    path: str
    kind: str
    executable: bool
    content_hash: str
    blob: Blob | None
    expected_hash: str | None


class Applied(msgspec.Struct, frozen=True):
    """Outcome of a change; `sequence` is the event's, or the version's when nothing had to change."""

    sequence: int
    content_hash: str
    changed: bool


Entry = tuple[str, str, bool, int, str, int]


def apply_change(
    transaction: Transaction, change: Change, agent_id: str, *, may_delete_critical: bool
) -> Applied:
    """Apply one change and append its event; raises Problem when the tree does not allow it."""
    row = transaction.connection.execute(
        "SELECT kind, executable, size, content_hash, sequence FROM files WHERE path = ?", (change.path,)
    ).fetchone()
    if change.expected_hash is not None and change.expected_hash != (row[3] if row else ""):
        found = f"has {row[3]}" if row else "does not exist"
        raise Problem(409, f"{change.path!r} {found}, not the expected hash; read it again.")
    if change.operation == "delete":
        return _delete(transaction, change, row, agent_id, may_delete_critical)
    return _put(transaction, change, row, agent_id)


def _delete(
    transaction: Transaction, change: Change, row: Any, agent_id: str, may_delete_critical: bool
) -> Applied:
    if row is None:
        raise Problem(404, f"{change.path!r} is not in the tree; there is nothing to delete.")
    if change.path.rsplit("/", 1)[-1] in CRITICAL_FILES and not may_delete_critical:
        raise Problem(403, f"{change.path!r} is a critical file; only an operator may delete it.")
    kind, executable, size, content_hash, _sequence = row
    line = transaction.append(
        EventType.FILE_DELETED,
        agent_id,
        change.path,
        _event_data(change.path, kind, bool(executable), size, None, content_hash, None),
    )
    transaction.connection.execute("DELETE FROM files WHERE path = ?", (change.path,))
    _add_version(transaction, line.sequence, change.path, "delete", (kind, executable, 0, None), agent_id)
    return Applied(line.sequence, "", True)


def _put(transaction: Transaction, change: Change, row: Any, agent_id: str) -> Applied:
    same = (
        row is not None and row[:2] == (change.kind, int(change.executable)) and row[3] == change.content_hash
    )
    if same:
        return Applied(row[4], change.content_hash, False)
    if row is not None and change.operation == "create":
        raise Problem(409, f"{change.path!r} exists with other content; use the operation 'update'.")
    if row is None:
        _check_place(transaction.connection, change.path)
    connection = transaction.connection
    if change.blob is not None:
        put_blob(connection, change.blob)
        size, text = change.blob.size, change.blob.is_text
    else:
        facts = blob_facts(connection, change.content_hash)
        if facts is None:
            raise Problem(400, f"No blob {change.content_hash} is stored; upload it before naming its hash.")
        size, text = facts
        if change.kind == "symlink":
            _check_stored_target(connection, change)
    previous = row[3] if row else None
    line = transaction.append(
        EventType.FILE_CREATED if row is None else EventType.FILE_MODIFIED,
        agent_id,
        change.path,
        _event_data(change.path, change.kind, change.executable, size, change.content_hash, previous, text),
    )
    state = (change.kind, int(change.executable), size, change.content_hash)
    connection.execute(
        "INSERT INTO files (path, kind, executable, size, content_hash, mtime_us, sequence) "
        "VALUES (?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE SET kind = excluded.kind, "
        "executable = excluded.executable, size = excluded.size, content_hash = excluded.content_hash, "
        "mtime_us = excluded.mtime_us, sequence = excluded.sequence",
        (change.path, *state, transaction.now_us, line.sequence),
    )
    operation = "create" if row is None else "update"
    _add_version(transaction, line.sequence, change.path, operation, state, agent_id)
    return Applied(line.sequence, change.content_hash, True)


def _check_place(connection: Connection, path: str) -> None:
    parts = path.split("/")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        if connection.execute("SELECT 1 FROM files WHERE path = ?", (folder,)).fetchone():
            raise Problem(409, f"{path!r} cannot be made: {folder!r} is a file, not a folder.")
    # "0" follows "/" in the byte order, so this range is exactly the folder's content.
    inside = connection.execute(
        "SELECT 1 FROM files WHERE path > ? AND path < ? LIMIT 1", (path + "/", path + "0")
    )
    if inside.fetchone():
        raise Problem(409, f"{path!r} cannot be made: it is a folder with files in it.")


def _check_stored_target(connection: Connection, change: Change) -> None:
    target = read_blob(connection, change.content_hash) or b""
    try:
        check_symlink(change.path, target.decode())
    except ValueError as error:
        raise Problem(400, str(error)) from None


def _add_version(
    transaction: Transaction, sequence: int, path: str, operation: str, state: Any, agent_id: str
) -> None:
    transaction.connection.execute(
        "INSERT INTO file_versions "
        "(sequence, path, operation, kind, executable, size, content_hash, mtime_us, agent_id) "
        "VALUES (?,?,?,?,?,?,?,?,?)",
        (sequence, path, operation, *state, transaction.now_us, agent_id),
    )


def _event_data(
    path: str,
    kind: str,
    executable: bool,
    size: int,
    content_hash: str | None,
    previous_hash: str | None,
    text: bool | None,
) -> dict[str, Any]:
    return {
        "path": path,
        "kind": kind,
        "executable": executable,
        "size": size,
        "content_hash": content_hash,
        "previous_hash": previous_hash,
        "mime_type": _TYPES.guess_type(path)[0] or "application/octet-stream",
        "encoding": None if text is None else "utf-8" if text else "base64",
        "content": None,
    }


def sequence_at(connection: Connection, timestamp_us: int) -> int:
    """The last sequence committed at or before a moment. Timestamps never decrease in this store."""
    row = connection.execute(
        "SELECT max(sequence_id) FROM events WHERE timestamp = "
        "(SELECT max(timestamp) FROM events WHERE timestamp <= ?)",
        (timestamp_us,),
    ).fetchone()
    return row[0] or 0


def last_sequence(connection: Connection) -> int:
    """The sequence of the latest event."""
    row = connection.execute("SELECT coalesce(max(sequence_id), 0) FROM events").fetchone()
    return int(row[0])


def read_tree(connection: Connection, sequence: int | None, prefix: str) -> tuple[int, list[Entry]]:
    """The files under `prefix` now, or as they were after event `sequence`; sorted by path.
    `connection` must see one moment."""
    low, high = (prefix + "/", prefix + "0") if prefix else ("", "\U0010ffff")
    if sequence is None:
        sequence = last_sequence(connection)
        rows = connection.execute(
            "SELECT path, kind, executable, size, content_hash, mtime_us FROM files "
            "WHERE (path > ? AND path < ?) OR path = ? ORDER BY path",
            (low, high, prefix),
        ).fetchall()
    else:
        rows = connection.execute(
            "SELECT v.path, v.kind, v.executable, v.size, v.content_hash, v.mtime_us FROM file_versions v "
            "JOIN (SELECT max(sequence) AS sequence FROM file_versions WHERE sequence <= ? "
            "AND ((path > ? AND path < ?) OR path = ?) GROUP BY path) latest ON latest.sequence = v.sequence "
            "WHERE v.operation <> 'delete' ORDER BY v.path",
            (sequence, low, high, prefix),
        ).fetchall()
    return sequence, [(p, kind, bool(x), size, content, mtime) for p, kind, x, size, content, mtime in rows]


def read_file(connection: Connection, path: str, sequence: int | None) -> tuple[str, bytes, str] | None:
    """Kind, content and hash of a file now or after event `sequence`; None when it was not there."""
    if sequence is None:
        row = connection.execute("SELECT kind, content_hash FROM files WHERE path = ?", (path,)).fetchone()
    else:
        row = connection.execute(
            "SELECT kind, content_hash FROM file_versions WHERE path = ? AND sequence <= ? "
            "ORDER BY sequence DESC LIMIT 1",
            (path, sequence),
        ).fetchone()
    if row is None or row[1] is None:
        return None
    content = read_blob(connection, row[1])
    return None if content is None else (row[0], content, row[1])


def read_history(connection: Connection, path: str) -> list[dict[str, Any]]:
    """Every version of a path, oldest first; empty when it never existed."""
    rows = connection.execute(
        "SELECT sequence, mtime_us, operation, content_hash, size, agent_id FROM file_versions "
        "WHERE path = ? ORDER BY sequence",
        (path,),
    )
    keys = ("sequence", "timestamp", "operation", "content_hash", "size", "agent_id")
    return [dict(zip(keys, (row[0], iso(row[1]), *row[2:]), strict=True)) for row in rows]
