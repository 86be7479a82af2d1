"""Snapshots of the tree, and the way back to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import event_messages as m
from ..clock import iso, now_us
from ..credentials import Role
from ..events import EventType
from ..exchange import reply
from ..paths import PathError, check_path
from ..problems import Problem
from ..route import Route
from ..snapshots import build_snapshot, list_snapshots, open_snapshot, store_snapshot
from ..tree import Change, Entry, apply_change, read_tree

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply
    from ..transactions import Transaction

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


async def make(bridge: Bridge, call: Call) -> Reply:
    """Keep the tree as it is now under a name."""
    name = call.parameters["name"]
    if not _NAME.fullmatch(name):
        raise Problem(
            400,
            f"{name[:80]!r} cannot name a snapshot; use up to 100 letters, digits, dots, dashes and underscores.",
        )
    built = await bridge.database.read(lambda c: build_snapshot(c, name, now_us()), snapshot=True)
    agent_id = call.session.agent_id
    made = await bridge.database.write(
        lambda transaction: store_snapshot(transaction, name, built, agent_id, automatic=False)
    )
    return reply(
        m.SnapshotEntry(name, built.sequence, iso(made), built.digest, len(built.body), automatic=False)
    )


async def list_all(bridge: Bridge, _call: Call) -> Reply:
    """All snapshots, the latest first."""
    found = await bridge.database.read(list_snapshots)
    entries = [
        m.SnapshotEntry(one.name, one.sequence, iso(one.created_us), one.digest, one.size, one.automatic)
        for one in found
    ]
    return reply(m.SnapshotsAnswer(entries, len(entries)))


async def restore(bridge: Bridge, call: Call) -> Reply:
    """Make the tree, or some of its files, what a snapshot holds; every difference becomes an event."""
    body: m.RestoreRequest = call.body
    wanted = None if body.file_paths is None else frozenset(_path(path) for path in body.file_paths)
    sequence, files = await bridge.database.read(lambda connection: open_snapshot(connection, body.snapshot))
    kept = {file[0]: file for file in files if wanted is None or file[0] in wanted}
    agent_id = call.session.agent_id

    def work(transaction: Transaction) -> m.RestoreAnswer:
        _, now = read_tree(transaction.connection, None, "")
        gone = [file for file in now if file[0] not in kept and (wanted is None or file[0] in wanted)]
        present = {file[0]: file for file in now}
        changed = [file for file in kept.values() if present.get(file[0], ())[:5] != file[:5]]
        # What goes makes room for folders that come.
        for file in gone:
            apply_change(transaction, _change("delete", file), agent_id, may_delete_critical=True)
        for file in changed:
            apply_change(transaction, _change("update", file), agent_id, may_delete_critical=True)
        data = {
            "name": body.snapshot,
            "sequence": sequence,
            "restored": len(changed),
            "deleted": len(gone),
            "paths": sorted(wanted) if wanted is not None else None,
        }
        line = transaction.append(EventType.SNAPSHOT_RESTORED, agent_id, None, data)
        return m.RestoreAnswer(
            success=True,
            snapshot=body.snapshot,
            restored=len(changed),
            deleted=len(gone),
            sequence=line.sequence,
        )

    return reply(await bridge.database.write(work))


def _change(operation: str, file: Entry) -> Change:
    path, kind, executable, _size, content_hash, _mtime = file
    return Change(operation, path, kind, executable, content_hash, None, None)


def _path(text: str) -> str:
    try:
        return check_path(text)
    except PathError as error:
        raise Problem(400, str(error)) from None


ROUTES = (
    Route(
        method="POST",
        path="/snapshot/{name}",
        handle=make,
        role=Role.OPERATOR,
        summary="Keep the tree as it is now under a name",
        answers={200: m.SnapshotEntry},
        errors=frozenset({409}),
    ),
    Route(
        method="GET",
        path="/snapshots",
        handle=list_all,
        role=Role.EXPERT,
        summary="All snapshots, the latest first",
        answers={200: m.SnapshotsAnswer},
    ),
    Route(
        method="POST",
        path="/restore",
        handle=restore,
        role=Role.OPERATOR,
        body=(m.RestoreRequest,),
        summary="Make the tree, or some of its files, what a snapshot holds",
        answers={200: m.RestoreAnswer},
        errors=frozenset({404, 409}),
    ),
)
