"""Search by regular expression. It runs in a process of its own, because a hostile pattern can keep Python's
`re` busy for years and nothing but a kill ends it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .problems import Problem, StoreUnavailableError
from .tree_messages import Match, SearchAnswer

if TYPE_CHECKING:
    from .bridge import Bridge
    from .transactions import Connection
    from .tree_messages import SearchRequest

_PROGRAM = Path(__file__).with_name("searcher.py")
_LINE_BYTES = 1024 * 1024
_PAGE_FILES = 500
_PAGE_BYTES = 4 * 1024 * 1024


async def search_tree(bridge: Bridge, request: SearchRequest) -> SearchAnswer:
    """Search the tree's text files; what was found when the time ran out is returned as truncated.

    Raises Problem 400 for a bad pattern and 429 when too many searches wait.
    """
    try:
        async with asyncio.timeout(bridge.settings.search_seconds):
            await bridge.searches.acquire()
    except TimeoutError:
        raise Problem(
            429, "Too many searches run already; try again later.", (("Retry-After", "5"),)
        ) from None
    try:
        return await _run(bridge, request)
    finally:
        bridge.searches.release()


async def _run(bridge: Bridge, request: SearchRequest) -> SearchAnswer:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(_PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        env={},
    )
    if process.stdin is None or process.stdout is None:
        raise StoreUnavailableError("the search process has no pipes")
    matches: list[Match] = []
    feeding: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(bridge.settings.search_seconds):
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            feeding = asyncio.create_task(_feed(bridge, process.stdin))
            async for line in process.stdout:
                found = msgspec.json.decode(line)
                if isinstance(found, list):
                    matches.append(Match(*found))
                elif "refused" in found:
                    raise Problem(400, found["refused"])
                else:
                    return SearchAnswer(matches, found["truncated"])
            # The process ended before it said so: because the store did not send all, or for want of memory.
            await feeding
    except TimeoutError:
        return SearchAnswer(matches, truncated=True)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if feeding is not None:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
    return SearchAnswer(matches, truncated=True)


async def _feed(bridge: Bridge, pipe: asyncio.StreamWriter) -> None:
    """Send every text file of the tree to the search process, then an empty one."""
    path = ""
    try:
        while page := await bridge.database.read(lambda connection: _page(connection, path)):  # noqa: B023 - used at once
            for path, encoding, data in page:
                pipe.write(msgspec.json.encode([path, encoding, len(data)]) + b"\n" + data)
                await pipe.drain()
        pipe.write(b'["", "", 0]\n')
        await pipe.drain()
    except ConnectionError:
        # It has found enough, or the pattern is refused.
        return
    finally:
        pipe.close()


def _page(connection: Connection, after: str) -> list[tuple[str, str, bytes]]:
    sizes = connection.execute(
        "SELECT f.path, length(b.data) FROM files f JOIN blobs b ON b.hash = f.content_hash "
        "WHERE f.kind = 'file' AND b.is_text <> 0 AND f.path > ? ORDER BY f.path LIMIT ?",
        (after, _PAGE_FILES),
    ).fetchall()
    last, total = after, 0
    for path, size in sizes:
        last, total = path, total + size
        if total >= _PAGE_BYTES:
            break
    return connection.execute(
        "SELECT f.path, b.encoding, b.data FROM files f JOIN blobs b ON b.hash = f.content_hash "
        "WHERE f.kind = 'file' AND b.is_text <> 0 AND f.path > ? AND f.path <= ? ORDER BY f.path",
        (after, last),
    ).fetchall()
