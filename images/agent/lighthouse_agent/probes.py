"""Answers /health, /ready and /metrics."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.metrics_tls import CertificateError, secured


class ProbeServer(ThreadingHTTPServer):
    """Serves on all addresses, over TLS if a folder with a certificate is named.

    `missing` lists why the agent is not ready, empty when it is.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, port: int, missing: Callable[[], list[str]], registry: CollectorRegistry, tls: Path | None
    ) -> None:
        self.missing = missing
        self.registry = registry
        try:
            super().__init__(("", port), _Handler)
        except OSError as error:
            raise SettingsError(
                f"Port {port} cannot be served ({error.strerror}); set LIGHTHOUSE_HEALTH_PORT to a free one."
            ) from None
        if tls:
            try:
                self.socket = secured(self.socket, tls)
            except CertificateError as error:
                self.server_close()
                raise SettingsError(str(error)) from None


class _Handler(BaseHTTPRequestHandler):
    server: ProbeServer
    timeout = 5.0

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/health":
                self._answer_json(200, {"status": "healthy", "service": "lighthouse-agent"})
            case "/ready":
                missing = self.server.missing()
                if missing:
                    self._answer_json(503, {"detail": "; ".join(missing)})
                else:
                    self._answer_json(200, {"status": "ready"})
            case "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))
            case _:
                self._answer_json(404, {"detail": "Nothing is here; ask for /health, /ready or /metrics."})

    def _answer_json(self, status: int, body: dict[str, str]) -> None:
        self._answer(status, "application/json", json.dumps(body).encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
        """Probes come every few seconds; the log is for what changes."""
