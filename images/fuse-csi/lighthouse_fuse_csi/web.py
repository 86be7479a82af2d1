"""The small HTTP server of probes and metrics."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from lighthouse_fuse_csi.errors import SettingsError
from lighthouse_fuse_csi.metrics_tls import CertificateError, secured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Answer = tuple[int, str, bytes]


def plain(status: int, text: str) -> Answer:
    """A line of text."""
    return status, "text/plain; charset=utf-8", text.encode() + b"\n"


def metrics(registry: CollectorRegistry) -> Callable[[], Answer]:
    """A route that shows the registry."""
    return lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry))


def listen(port: int, tls: Path | None = None) -> socket.socket:
    """A listening socket on all addresses, over TLS if a folder with a certificate is named; raises OSError and
    SettingsError."""
    if socket.has_dualstack_ipv6():
        found = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        found = socket.create_server(("", port))
    try:
        return secured(found, tls) if tls else found
    except CertificateError as error:
        found.close()
        raise SettingsError(str(error)) from None


def serve(listener: socket.socket, routes: Mapping[str, Callable[[], Answer]]) -> ThreadingHTTPServer:
    """Answer GET of each path of `routes` on a bound, listening socket, from a background thread."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            route = routes.get(self.path.partition("?")[0])
            status, kind, body = route() if route else plain(404, f"{self.path} is unknown.")
            self.send_response_only(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Probes come every few seconds: not worth a line."""

    server = ThreadingHTTPServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="web", daemon=True).start()
    return server
