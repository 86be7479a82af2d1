"""The port that clients use. Over TLS, a changed certificate is shown to whoever connects from then on."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from granian.constants import Interfaces
from granian.net import SocketHolder  # type: ignore[attr-defined]  # there, but not declared
from granian.server.embed import Server

from . import metrics
from .certificate import AUTHORITY, CHAIN, KEY, CertificateError, Copies, read_certificate
from .logs import log
from .shared_port import SharedPort
from .subscriptions import GOING_AWAY

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from .certificate import Certificate, Tls

    Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

BACKLOG = 1024
# A server that cannot use its certificate ends at once.
STARTING_SECONDS = 0.5
# Between looks whether the last WebSocket has been closed.
CLOSING_SECONDS = 0.1


class Listener:
    """A server on a port, and two while a new certificate takes over: the new one gets all new connections."""

    def __init__(self, application: Application, host: str, port: int, tls: Tls | None = None) -> None:
        """Listens at once; raises OSError where it cannot, and CertificateError."""
        self._application = application
        self._tls = tls
        self._certificate = self._read()
        self._refused: Certificate | None = None
        self._why = ""
        self._port = SharedPort(host, port, BACKLOG)
        self._first = self._port.open()
        self._leaving: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        """Serve until `stop`, and then until connections have ended."""
        current = _Turn(self._application, self._port, self._first, self._certificate)
        wait = self._tls.reload_seconds if self._tls else None
        stopped = asyncio.create_task(self._stopped.wait())
        while not stopped.done() and not current.serving.done():
            await asyncio.wait({stopped, current.serving}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not stopped.done() and (fresh := await self._renewed()):
                task = asyncio.create_task(current.hand_over(self._tls.handover_seconds if self._tls else 0))
                self._leaving.add(task)
                task.add_done_callback(self._leaving.discard)
                current = fresh
        stopped.cancel()
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await current.end()

    def stop(self) -> None:
        """Accept nothing more."""
        self._stopped.set()

    async def _renewed(self) -> _Turn | None:
        """A server that shows the certificate on disk, if that is new and can be shown."""
        try:
            found = self._read()
        except CertificateError as error:
            self._refuse(str(error))
            return None
        if found == self._certificate:
            self._refuse("")
        if found in (self._certificate, self._refused):
            return None
        fresh = _Turn(self._application, self._port, self._port.open(), found)
        await asyncio.wait({fresh.serving}, timeout=STARTING_SECONDS)
        if fresh.serving.done():
            await fresh.end()
            self._refused = found
            self._refuse("The server cannot use it; take a key of ECDSA P-256 or P-384, or of RSA.")
            return None
        self._certificate = found
        self._refuse("")
        metrics.certificate_changes.inc()
        log.info("a new certificate is shown")
        return fresh

    def _refuse(self, why: str) -> None:
        """Say once why the certificate on disk is not shown, or with an empty text that it is."""
        if why and why != self._why:
            log.error("the new certificate cannot be used, the former stays", reason=why)
        self._why = why
        metrics.certificate_broken.set(bool(why))

    def _read(self) -> Certificate | None:
        return read_certificate(self._tls.folder, clients=self._tls.clients) if self._tls else None


class _Turn:
    """A server on a socket of its own, from a certificate to the next."""

    def __init__(
        self,
        application: Application,
        port: SharedPort,
        listening: socket.socket,
        certificate: Certificate | None,
    ) -> None:
        self._application = application
        self._port = port
        self._listening = listening
        self._leaving = False
        self._sockets: set[asyncio.Event] = set()
        self._copies = Copies(certificate) if certificate else None
        self._server = _Server(self._serve if certificate else application, listening, self._copies)
        self.serving = asyncio.create_task(self._server.serve())

    async def _serve(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if self._leaving and scope.get("http_version", "").startswith("1"):
            send = _closing(send)
        await self._application(scope, receive, send)

    async def _serve_socket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a WebSocket, which the server would otherwise cut off without a word when it ends."""
        over = asyncio.Event()

        async def receive_until_over() -> Any:
            receiving, waiting = asyncio.ensure_future(receive()), asyncio.ensure_future(over.wait())
            try:
                await asyncio.wait({receiving, waiting}, return_when=asyncio.FIRST_COMPLETED)
                return receiving.result() if receiving.done() else {"type": "websocket.disconnect"}
            finally:
                receiving.cancel()
                waiting.cancel()

        self._sockets.add(over)
        try:
            await self._application(scope, receive_until_over, send)
            if over.is_set():
                reason = "the certificate has changed"
                await send({"type": "websocket.close", "code": GOING_AWAY, "reason": reason})
        finally:
            self._sockets.discard(over)

    async def hand_over(self, seconds: float) -> None:
        """Ask clients to connect anew, and end when they had time to; cancelled, end at once."""
        self._leaving = True
        try:
            await asyncio.sleep(seconds)
            while self._sockets:
                for over in self._sockets:
                    over.set()
                await asyncio.sleep(CLOSING_SECONDS)
        finally:
            await self.end()

    async def end(self) -> None:
        """Accept nothing more; returns when the last connection has ended."""
        if not self.serving.done():
            self._server.stop()  # type: ignore[no-untyped-call]  # granian leaves it untyped
        await asyncio.wait({self.serving})
        self._port.close(self._listening)
        if self._copies:
            self._copies.close()


class _Server(Server):
    """A server on a socket given to it, with a certificate from memory."""

    def __init__(self, application: Application, listening: socket.socket, copies: Copies | None) -> None:
        super().__init__(
            application, interface=Interfaces.ASGINL, backlog=BACKLOG, log_enabled=False, websockets=True
        )
        self._listening = listening
        if copies:
            authority = copies.path(AUTHORITY)
            # As granian makes it of paths, which it would resolve, and these have nothing to resolve to.
            files: Any = (
                copies.path(CHAIN),
                copies.path(KEY),
                None,
                "tls1.3",
                authority,
                [],
                bool(authority),
            )
            self.ssl_ctx = (True, *files)

    def _init_shared_socket(self) -> None:
        # The server closes what it was given.
        self._shd: Any = SocketHolder(os.dup(self._listening.fileno()), False, BACKLOG)  # type: ignore[call-arg]  # as above
        self._ssp = None


def _closing(send: Any) -> Any:
    async def closing(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return closing
