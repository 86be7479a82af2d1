"""Context packages: what an expert needs to judge a validation that waits for review."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from .. import tree_messages as m
from ..clock import iso
from ..credentials import Role
from ..exchange import Reply, reply
from ..messages import PageQuery
from ..problems import Problem
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call
    from ..transactions import Connection


async def listing(bridge: Bridge, call: Call) -> Reply:
    """The latest packages, newest first."""
    limit: int = call.query.limit

    def work(connection: Connection) -> list[m.PackageEntry]:
        rows = connection.execute(
            "SELECT id, created_us, sequence FROM context_packages ORDER BY sequence DESC LIMIT ?", (limit,)
        )
        return [m.PackageEntry(row[0], iso(row[1]), row[2]) for row in rows]

    return reply(m.PackagesAnswer(await bridge.database.read(work)))


async def get(bridge: Bridge, call: Call) -> Reply:
    """One package."""
    wanted = call.parameters["id"]

    def work(connection: Connection) -> str | None:
        query = "SELECT package FROM context_packages WHERE id = ?"
        row = connection.execute(query, (wanted,)).fetchone()
        return None if row is None else str(row[0])

    package = await bridge.database.read(work)
    if package is None:
        raise Problem(404, f"There is no context package {wanted[:80]!r}.")
    return Reply(msgspec.json.encode(msgspec.Raw(package.encode())))


ROUTES = (
    Route(
        method="GET",
        path="/context",
        handle=listing,
        role=Role.EXPERT,
        query=PageQuery,
        summary="The latest context packages",
        answers={200: m.PackagesAnswer},
    ),
    Route(
        method="GET",
        path="/context/{id}",
        handle=get,
        role=Role.EXPERT,
        summary="A context package",
        answers={200: m.PackageAnswer},
        errors=frozenset({404}),
    ),
)
