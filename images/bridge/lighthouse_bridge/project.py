"""What the judge takes from the project's tree: its own rules and its symbolic links."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .blobs import read_blob
from .decisions.layers import PROJECT_FOLDER

if TYPE_CHECKING:
    from .transactions import Connection


class Project(msgspec.Struct, frozen=True):
    """Rule files by path and the targets of links by path, as of a version of the tree."""

    sequence: int = 0
    rules: dict[str, bytes] = {}
    links: dict[str, str] = {}


def load_project(connection: Connection, known: Project) -> Project:
    """The project as the tree has it now; `known` itself while the tree is the same."""
    (sequence,) = connection.execute("SELECT coalesce(max(sequence), 0) FROM file_versions").fetchone()
    if sequence == known.sequence:
        return known
    # "0" follows "/" in the byte order, so this range is exactly the folder's content.
    rules = connection.execute(
        "SELECT path, content_hash FROM files WHERE path > ? AND path < ? AND kind = 'file' ORDER BY path",
        (PROJECT_FOLDER, PROJECT_FOLDER.removesuffix("/") + "0"),
    ).fetchall()
    links = connection.execute(
        "SELECT path, content_hash FROM files WHERE kind = 'symlink' ORDER BY path"
    ).fetchall()
    return Project(
        sequence,
        {path: read_blob(connection, digest) or b"" for path, digest in rules if path.endswith(".yaml")},
        {path: (read_blob(connection, digest) or b"").decode() for path, digest in links},
    )
