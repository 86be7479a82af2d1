"""Content by hash: uploaded, read, and fetched many at a time."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

from .. import tree_messages as m
from ..blobs import MAX_BLOB_BYTES, blob_facts, pack_blob, put_blob, read_blob, read_blobs
from ..credentials import Role
from ..exchange import BYTES, MSGPACK, Reply, reply
from ..problems import Problem
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call
    from ..transactions import Connection

FETCH_BYTES = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def put(bridge: Bridge, call: Call) -> Reply:
    """Store content under its hash."""
    expected = _hash(call)
    async with bridge.uploads:
        content = await call.read_body(MAX_BLOB_BYTES)
        actual = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        if actual != expected:
            raise Problem(400, f"The content's SHA-256 is {actual}, not the {expected} of the URL.")
        stored = await bridge.database.read(lambda connection: blob_facts(connection, expected))
        new = False
        if stored is None:
            blob = await asyncio.to_thread(pack_blob, content)
            new = await bridge.database.write(lambda t: put_blob(t.connection, blob))
    return reply(m.BlobAnswer(True, expected, len(content)), 201 if new else 200)


async def get(bridge: Bridge, call: Call) -> Reply:
    """The content with this hash."""
    wanted = _hash(call)
    content = await bridge.database.read(lambda connection: read_blob(connection, wanted))
    if content is None:
        raise Problem(404, f"No blob {wanted} is stored.")
    return Reply(content, media_type=BYTES, headers=(("ETag", f'"{wanted}"'),))


async def fetch(bridge: Bridge, call: Call) -> Reply:
    """Many contents at once, as many as fit; the rest is asked for again."""
    hashes = call.body.hashes

    def work(connection: Connection) -> bytes:
        return msgspec.msgpack.encode(read_blobs(connection, hashes, FETCH_BYTES))

    return Reply(await bridge.database.read(work), media_type=MSGPACK)


def _hash(call: Call) -> str:
    given = call.parameters["sha256"]
    if not _SHA256.fullmatch(given):
        raise Problem(400, f"{given[:80]!r} is not a SHA-256 in lower-case hexadecimal.")
    return given


ROUTES = (
    # Before the routes by hash, which would match it.
    Route(
        method="POST",
        path="/shadow/blobs/fetch",
        handle=fetch,
        counted=False,
        role=Role.EXPERT,
        body=(m.BlobsFetchRequest,),
        media_types=(MSGPACK,),
        summary="Read many contents: a map of hash to bytes, filled up to 16 MiB",
        answers={200: None},
    ),
    Route(
        method="PUT",
        path="/shadow/blobs/{sha256}",
        handle=put,
        counted=False,
        role=Role.BUILDER,
        raw_body=True,
        summary="Upload content",
        answers={200: m.BlobAnswer, 201: m.BlobAnswer},
    ),
    Route(
        method="GET",
        path="/shadow/blobs/{sha256}",
        handle=get,
        counted=False,
        role=Role.EXPERT,
        media_types=(BYTES,),
        summary="Read content",
        answers={200: None},
        errors=frozenset({404}),
    ),
)
