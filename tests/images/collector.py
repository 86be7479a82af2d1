"""A receiver of spans with OpenTelemetry's own schema: what a collector takes by OTLP over HTTP."""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = ("traceId", "spanId", "parentSpanId")


@dataclass(frozen=True)
class Span:
    """One span; ids in hexadecimal digits, times in nanoseconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    start: int
    end: int
    failed: bool
    attributes: dict[str, Any]
    service: str


@dataclass
class Collector:
    """What was sent, as `spans` and, decompressed, as `bodies`; with `token` others are refused."""

    token: str = ""
    url: str = ""
    # How many requests are answered so before they are taken.
    refusals: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def wait(self, count: int = 1, seconds: float = 15.0) -> list[Span]:
        """The spans, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.spans) < count:
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        return list(self.spans)

    def named(self, name: str) -> Span:
        """The only span of that name, once it is there."""
        deadline = time.monotonic() + 15
        while not (found := [span for span in list(self.spans) if span.name == name]):
            assert time.monotonic() < deadline, [span.name for span in self.spans]
            time.sleep(0.02)
        (span,) = found
        return span

    def take(self, body: bytes, media_type: str) -> None:
        """Read one request; raises when it is not of the schema."""
        request = ExportTraceServiceRequest()
        if media_type == "application/json":
            # In JSON ids are hexadecimal, where protobuf's own form of JSON has base64.
            json_format.ParseDict(_with_binary_ids(json.loads(body)), request)
        else:
            request.ParseFromString(body)
        self.bodies.append(body)
        for resource in request.resource_spans:
            about = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [_span(span, about["service.name"]) for span in scope.spans]


def _span(span: Any, service: str) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        _attributes(span.attributes),
        service,
    )


def _attributes(given: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in given}


def _with_binary_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_binary_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode() if key in IDS else _with_binary_ids(item)
        for key, item in value.items()
    }


@contextmanager
def collecting(tls: Path | None = None, token: str = "") -> Iterator[Collector]:
    """A collector that listens, over TLS with the certificate of a folder."""
    collector = Collector(token)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            admitted = self.headers.get("Authorization", "") == (
                f"Bearer {collector.token}" if collector.token else ""
            )
            status = collector.refusals.pop(0) if collector.refusals else 200 if admitted else 401
            collector.paths.append(self.path)
            if status == 200:
                collector.take(body, self.headers["Content-Type"])
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    collector.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/v1/traces"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
