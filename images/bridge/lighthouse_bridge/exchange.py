"""One HTTP exchange: what a handler is given, and what it may answer."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from .problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from .sessions import Session

    Message = Mapping[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

JSON = "application/json"
MSGPACK = "application/msgpack"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
BYTES = "application/octet-stream"
DISCARD_BYTES = 16 * 1024 * 1024
DISCARD_SECONDS = 5.0
_CHUNK = 256 * 1024
_ASCII_TOKEN = re.compile(rb"[\x21-\x7e]{1,2048}")


class Reply:
    """A complete answer."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        media_type: str = JSON,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers


class StreamReply:
    """An answer that goes on until its iterator ends, the client leaves or reads too slowly; then `dropped`
    makes the last bytes that it is offered."""

    __slots__ = ("chunks", "dropped", "media_type", "on_close")

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        media_type: str,
        on_close: Callable[[], None],
        dropped: Callable[[], bytes],
    ) -> None:
        self.dropped = dropped
        self.chunks = chunks
        self.media_type = media_type
        self.on_close = on_close


def reply(answer: msgspec.Struct, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(msgspec.json.encode(answer), status=status)


class Call:
    """What a handler knows of a request: its checked body and query, its path and its session."""

    __slots__ = (
        "_unread",
        "body",
        "headers",
        "parameters",
        "query",
        "raw_body",
        "receive",
        "request_id",
        "scope",
        "session_",
        "trace_id",
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.request_id = ""
        # Of a request whose trace is kept.
        self.trace_id = ""
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.parameters: dict[str, str] = dict(scope.get("path_params", {}))
        self.session_: Session | None = None
        self.body: Any = None
        self.query: Any = None
        self.raw_body = b""
        self._unread = b"transfer-encoding" in self.headers or self.header("content-length") not in {"", "0"}

    @property
    def session(self) -> Session:
        """The session of a route that is not public."""
        if self.session_ is None:
            raise Problem(401, "This route needs a session token; create one with POST /session/create.")
        return self.session_

    def header(self, name: str) -> str:
        """A header's value, or an empty text."""
        return self.headers.get(name.encode(), b"").decode("latin-1")

    def accepts(self, media_type: str) -> bool:
        """Whether the client named this media type in Accept."""
        return media_type in self.header("accept")

    def require_agent(self, agent_id: str) -> None:
        """Raise Problem 403 unless `agent_id` is the session's own."""
        if agent_id != self.session.agent_id:
            raise Problem(
                403, f"The agent {agent_id!r} is not this session's agent {self.session.agent_id!r}."
            )

    async def read_body(self, limit: int) -> bytes:
        """The whole body; raises Problem 413 beyond `limit` bytes and 400 when the client left."""
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > limit:
            raise Problem(413, f"The body has {declared} bytes; at most {limit} are allowed.")
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            piece, more = await self._next_piece()
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise Problem(413, f"The body has more than {limit} bytes.")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def discard_body(self) -> None:
        """Read what is left of the body, within bounds: a client that is still sending when the connection
        closes never sees the answer."""
        if not self._unread:
            return
        left = DISCARD_BYTES
        with suppress(Problem, TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while self._unread and left > 0:
                    piece, _more = await self._next_piece()
                    left -= len(piece)

    async def _next_piece(self) -> tuple[bytes, bool]:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self._unread = False
            raise Problem(400, "The client closed the connection before the body was complete.")
        self._unread = bool(message.get("more_body"))
        return message.get("body", b""), self._unread


def bearer_of(headers: Mapping[bytes, bytes]) -> str:
    """The bearer token in a request's headers, or an empty text."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not _ASCII_TOKEN.fullmatch(token):
        return ""
    return token.decode("ascii")


class Handler(Protocol):
    """Answers one route."""

    async def __call__(self, call: Call, /) -> Reply | StreamReply: ...


async def send_reply(send: Send, answer: Reply, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a complete answer; a large one in pieces, so that a slow client does not hold it twice."""
    all_headers = [
        (b"content-type", answer.media_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *headers,
        *((name.encode(), value.encode("latin-1")) for name, value in answer.headers),
    ]
    if answer.status in {204, 304}:
        all_headers = all_headers[2:]
    await send({"type": "http.response.start", "status": answer.status, "headers": all_headers})
    body = answer.body
    if len(body) <= _CHUNK:
        await send({"type": "http.response.body", "body": body})
        return
    view = memoryview(body)
    for start in range(0, len(body), _CHUNK):
        piece = bytes(view[start : start + _CHUNK])
        await send({"type": "http.response.body", "body": piece, "more_body": start + _CHUNK < len(body)})
