"""The port of metrics: a small server beside that of clients, in threads of its own."""

from __future__ import annotations

from socket import AF_INET6
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from . import metrics
from .metrics_tls import secured

if TYPE_CHECKING:
    from pathlib import Path


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Scrapes come every few seconds; the log is for what changes."""


class Scrapes:
    """Answers with the metrics until `close`, over TLS if a folder with a certificate is named."""

    def __init__(self, host: str, port: int, tls: Path | None) -> None:
        """Listens at once; raises CertificateError of metrics_tls, and OSError where the port is taken."""
        kind = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, make_wsgi_app(metrics.REGISTRY), kind, _Quiet)
        if tls:
            try:
                self._server.socket = secured(self._server.socket, tls)
            except ValueError:
                self._server.server_close()
                raise
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and give the port up."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1)
