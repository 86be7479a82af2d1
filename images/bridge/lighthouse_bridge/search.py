"""Search by regular expression. It runs in a process of its own, because a hostile pattern can keep Python's
`re` busy for years and nothing but a kill ends it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .messages import Match, SearchAnswer
from .problems import Problem, StoreUnavailableError

if TYPE_CHECKING:
    from .bridge import Bridge
    from .messages import SearchRequest

_PROGRAM = Path(__file__).with_name("searcher.py")
_LINE_BYTES = 1024 * 1024


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
        str(bridge.database.path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        env={},
    )
    if process.stdin is None or process.stdout is None:
        raise StoreUnavailableError("the search process has no pipes")
    matches: list[Match] = []
    try:
        async with asyncio.timeout(bridge.settings.search_seconds):
            process.stdin.write(msgspec.json.encode(request))
            process.stdin.close()
            async for line in process.stdout:
                found = msgspec.json.decode(line)
                if isinstance(found, list):
                    matches.append(Match(*found))
                elif "refused" in found:
                    raise Problem(400, found["refused"])
                elif "failed" in found:
                    raise StoreUnavailableError(found["failed"])
                else:
                    return SearchAnswer(matches, found["truncated"])
    except TimeoutError:
        return SearchAnswer(matches, truncated=True)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    # The process died, for want of memory as likely as not.
    return SearchAnswer(matches, truncated=True)
