"""The store's schema, as Alembic revisions in `versions/`: one file a step, for both engines.

This module says how a store stands and loads nothing; `upgrade` changes it. A step must leave what the bridges of
the release before can go on using, or say so by raising `oldest_schema` in `store_metadata`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..problems import StoreUnavailableError

if TYPE_CHECKING:
    from ..transactions import Connection

FOLDER = Path(__file__).parent
# The revision that this bridge writes: the last file's number.
REVISION = max(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def is_current(connection: Connection, name: str) -> bool:
    """Whether a schema that has revisions is at this bridge's, or at a later one that it can use; raises
    StoreUnavailableError for a later one that it cannot."""
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if row is None or row[0] < REVISION:
        return False
    oldest = connection.execute("SELECT value FROM store_metadata WHERE key = 'oldest_schema'").fetchone()
    if oldest is not None and oldest[0] > REVISION:
        raise StoreUnavailableError(
            f"{name} has schema {row[0]}, which needs a bridge of schema {oldest[0]} or later; this one has "
            f"{REVISION}: upgrade it"
        )
    return True
