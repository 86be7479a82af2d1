"""Answers /health, /ready and /metrics."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from lighthouse_redis_keeper.errors import SettingsError
from lighthouse_redis_keeper.metrics_tls import CertificateError, secured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from wsgiref.types import StartResponse, WSGIEnvironment

PORT = 8085


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Probes come every few seconds; the log is for what changes."""


def serve(
    registry: CollectorRegistry,
    stuck: Callable[[], str],
    missing: Callable[[], str],
    tls: Path | None = None,
    port: int = PORT,
) -> None:
    """Serve from a thread, over TLS if a folder with a certificate is named; raises SettingsError.

    `stuck` and `missing` say why the process is unhealthy or not ready, or nothing.
    """
    metrics = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            shown: Iterable[bytes] = metrics(environ, start)
            return shown
        if path not in {"/health", "/ready"}:
            start("404 Not Found", [])
            return [b"Nothing is here; ask for /health, /ready or /metrics.\n"]
        fault = stuck() if path == "/health" else missing()
        start(
            "503 Service Unavailable" if fault else "200 OK", [("Content-Type", "text/plain; charset=utf-8")]
        )
        return [(fault or "ok").encode() + b"\n"]

    server = make_server("", port, answer, handler_class=_Quiet)
    if tls:
        try:
            server.socket = secured(server.socket, tls)
        except CertificateError as error:
            server.server_close()
            raise SettingsError(str(error)) from None
    Thread(target=server.serve_forever, name="web", daemon=True).start()
