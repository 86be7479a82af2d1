"""One WebSocket: subscriptions to events, each its own task, and one at a time who writes."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from . import metrics
from . import socket_messages as m
from .entrance import enter
from .logs import log
from .problems import Problem, StoreUnavailableError
from .subscriptions import GOING_AWAY, SESSION_ENDED, TOO_SLOW, TRY_LATER, Batch, Beat, Closing, make_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .bridge import Bridge
    from .exchange import Call, Receive, Send
    from .sessions import Session

MAX_SUBSCRIPTIONS = 16
MAX_MESSAGE_BYTES = 64 * 1024
TOO_BIG = 1009
_decode = msgspec.json.Decoder(m.Received).decode


class _Gone(Exception):  # noqa: N818 - no error: the way a socket ends
    """The socket is to be closed with this code and reason, or is closed already when there is no code."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


async def serve_socket(bridge: Bridge, call: Call, agent_id: str, send: Send) -> None:
    """Serve one WebSocket of an agent to its end; one that may not connect is refused with HTTP's status."""
    await call.receive()
    try:
        session = call.session_ = await _authorise(bridge, call.scope, agent_id)
        with bridge.subscribers.sockets.entered(agent_id):
            await send({"type": "websocket.accept"})
            await _Socket(bridge, session, call.receive, send).run()
    except Problem as problem:
        await _refuse(send, problem, call.request_id)


async def _authorise(bridge: Bridge, scope: Mapping[str, Any], agent_id: str) -> Session:
    if bridge.draining:
        raise Problem(503, "The bridge is shutting down.")
    try:
        session = await enter(bridge, scope, dict(scope["headers"]), socket=True)
    except StoreUnavailableError as error:
        raise Problem(503, str(error)) from None
    if session.agent_id != agent_id:
        raise Problem(403, f"The agent {agent_id!r} is not this session's agent {session.agent_id!r}.")
    return session


async def _refuse(send: Send, problem: Problem, request_id: str) -> None:
    body = msgspec.json.encode({"detail": problem.detail})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    start = {"type": "websocket.http.response.start", "status": problem.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})


class _Socket:
    """An accepted socket."""

    def __init__(self, bridge: Bridge, session: Session, receive: Receive, send: Send) -> None:
        self._bridge = bridge
        self._session = session
        self._receive = receive
        self._send = send
        self._patience = bridge.settings.slow_reader_seconds
        self._writing = asyncio.Lock()
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._end: asyncio.Future[_Gone] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Serve until the client leaves or must go."""
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch())
        try:
            gone = await self._end
        finally:
            tasks = [listening, watching, *self._subscriptions.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if gone.code is not None:
            await self._close(gone.code, gone.reason)

    async def _listen(self) -> None:
        try:
            while (message := await self._receive())["type"] != "websocket.disconnect":
                await self._take(message.get("text") or message.get("bytes") or b"")
            self._finish(_Gone(None))
        except _Gone as gone:
            self._finish(gone)
        except Exception as error:
            log.exception("socket failed")
            self._finish(_Gone(TRY_LATER, type(error).__name__))

    async def _take(self, raw: str | bytes) -> None:
        if len(raw) > MAX_MESSAGE_BYTES:
            raise _Gone(TOO_BIG, f"a message may have {MAX_MESSAGE_BYTES} bytes")
        name = None
        try:
            await self._bridge.request_limits.admit(self._session.agent_id, self._session.role)
            message = _decode(raw)
            if isinstance(message, m.Ping):
                await self._say(m.Pong())
            elif isinstance(message, m.Subscribe):
                name = message.id
                await self._subscribe(message)
            else:
                name = message.id
                await self._unsubscribe(message.id)
        except msgspec.DecodeError as error:
            await self._say(m.Refused(400, f"The message is refused: {error}."))
        except Problem as problem:
            await self._say(m.Refused(problem.status, problem.detail, name))
        except StoreUnavailableError as error:
            await self._say(m.Refused(503, str(error), name))

    async def _subscribe(self, wish: m.Subscribe) -> None:
        if wish.id in self._subscriptions:
            raise Problem(409, f"The subscription {wish.id!r} is open already; unsubscribe it first.")
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise Problem(429, f"{MAX_SUBSCRIPTIONS} subscriptions are open on this socket; close one first.")
        wanted = make_filter(wish.types, wish.agents, wish.aggregates)
        await self._bridge.subscribers.check(wish.after)
        with ExitStack() as stack:
            place = stack.enter_context(self._bridge.subscribers.room.entered(self._session.agent_id))
            await self._say(m.Subscribed(wish.id, wish.after))
            steps = self._bridge.subscribers.follow(place, wish.after, wanted, self._lives)
            task = asyncio.create_task(self._pass_on(wish.id, steps))
            # Also of a task that is cancelled before it begins.
            leave = stack.pop_all()
            task.add_done_callback(lambda _task: leave.close())
        self._subscriptions[wish.id] = task

    async def _unsubscribe(self, name: str) -> None:
        task = self._subscriptions.pop(name, None)
        if task is None:
            raise Problem(404, f"There is no subscription {name!r} on this socket.")
        # Between two messages, so that none is cut off.
        async with self._writing:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self._say(m.Unsubscribed(name))

    async def _pass_on(self, name: str, steps: Any) -> None:
        try:
            async with aclosing(steps):
                async for step in steps:
                    await self._tell(name, step)
        except _Gone as gone:
            self._finish(gone)

    async def _tell(self, name: str, step: Batch | Beat | Closing) -> None:
        if isinstance(step, Batch):
            for item in step.items:
                await self._say(m.Event(name, msgspec.Raw(item.line)))
        elif isinstance(step, Beat):
            await self._say(m.Heartbeat(name, step.sequence))
        else:
            raise _Gone(step.code, step.reason)

    async def _lives(self) -> bool:
        return await self._bridge.sessions.lives(self._session)

    async def _watch(self) -> None:
        """End the socket with its session or with the bridge, also while nothing is subscribed."""
        feed = self._bridge.feed
        while not feed.closing:
            await feed.wait(feed.ticket(), 1.0)
            with suppress(StoreUnavailableError):
                if not await self._lives():
                    self._finish(_Gone(SESSION_ENDED, "the session has ended"))
                    return
        if not self._subscriptions:
            self._finish(_Gone(GOING_AWAY, "the bridge is shutting down"))

    def _finish(self, gone: _Gone) -> None:
        if not self._end.done():
            self._end.set_result(gone)

    async def _say(self, message: msgspec.Struct) -> None:
        text = msgspec.json.encode(message).decode()
        async with self._writing:
            sending = asyncio.ensure_future(self._send({"type": "websocket.send", "text": text}))
            # Not cut off when this task is cancelled: half a message would spoil all that follow.
            await asyncio.wait({sending}, timeout=self._patience)
            if not sending.done():
                metrics.stream_dropped.inc()
                # Once more the same patience: a reader that goes on by then learns why it is dropped.
                await asyncio.wait({sending}, timeout=self._patience)
                reads = sending.done()
                sending.cancel()
                raise _Gone(TOO_SLOW if reads else None, "the reader is too slow")
            if sending.exception() is not None:
                raise _Gone(None)

    async def _close(self, code: int, reason: str) -> None:
        closing = asyncio.ensure_future(
            self._send({"type": "websocket.close", "code": code, "reason": reason[:120]})
        )
        await asyncio.wait({closing}, timeout=self._patience)
        closing.cancel()
