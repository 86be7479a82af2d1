"""Annotations and the documents under `shadows/`: a file's content with its annotations."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from .blobs import is_text
from .clock import iso
from .events import EventType
from .problems import Problem
from .tree import read_file
from .tree_messages import Annotation, DocumentAnswer

if TYPE_CHECKING:
    from .transactions import Connection, Transaction


def annotate_file(
    transaction: Transaction, annotation_id: str, path: str, line: int, annotation: str, expert_id: str
) -> int:
    """Store an annotation and its event; returns the sequence. 404 for no file, 400 beyond its last line."""
    found = read_file(transaction.connection, path, None)
    if found is None:
        raise Problem(404, f"{path!r} is not in the tree.")
    lines = found[1].count(b"\n") + (0 if found[1].endswith(b"\n") else 1)
    if line > max(lines, 1):
        raise Problem(400, f"{path!r} has {lines} lines; line {line} cannot be annotated.")
    data = {
        "annotation_id": annotation_id,
        "file_path": path,
        "line": line,
        "annotation": annotation,
        "expert_id": expert_id,
    }
    event = transaction.append(EventType.SHADOW_ANNOTATION_CREATED, expert_id, path, data)
    transaction.connection.execute(
        "INSERT INTO annotations VALUES (?,?,?,?,?,?,?)",
        (annotation_id, event.sequence, path, line, annotation, expert_id, transaction.now_us),
    )
    return event.sequence


def build_document(connection: Connection, path: str) -> DocumentAnswer | None:
    """The document of a file, a pure function of its content and annotations; None without the file.
    `connection` must see one moment."""
    found = read_file(connection, path, None)
    if found is None:
        return None
    (changed,) = connection.execute("SELECT mtime_us FROM files WHERE path = ?", (path,)).fetchone()
    rows = connection.execute(
        "SELECT annotation_id, line, annotation, expert_id, created_us, sequence FROM annotations "
        "WHERE file_path = ? ORDER BY line, sequence",
        (path,),
    ).fetchall()
    annotations = [Annotation(row[0], row[1], row[2], row[3], iso(row[4]), row[5]) for row in rows]
    content = found[1]
    text = is_text(content)
    return DocumentAnswer(
        original_content=content.decode() if text else base64.b64encode(content).decode(),
        encoding="utf-8" if text else "base64",
        ast_annotations=annotations,
        file_path=path,
        generated_at=iso(max([changed, *(row[4] for row in rows)])),
    )
