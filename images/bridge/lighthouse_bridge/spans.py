"""Spans by OpenTelemetry's SDK, and their way to a collector; `tracing` loads this where traces are wanted."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import metrics
from .logs import log
from .problems import Problem
from .remote import CredentialError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Span
    from requests import PreparedRequest

    from .exchange import Call
    from .remote import Remote
    from .route import Route

SERVICE = "lighthouse-bridge"
EXPORT_SECONDS = 5.0
# Spans that wait while the collector is away; more are dropped.
QUEUE, BATCH = 4096, 512
EVERY_MILLISECONDS = 1000
_CLOSE_SECONDS = 2.0
_LONGEST = 80
_CONTEXT = TraceContextTextMapPropagator()


class Spans:
    """Makes spans and sends them to a collector, as `tracing.start` says."""

    def __init__(self, remote: Remote, ratio: float) -> None:
        named = {"service.name": SERVICE, "service.instance.id": os.uname().nodename}
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create(named),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _exporter(remote),
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=EVERY_MILLISECONDS,
            )
        )
        self._tracer = self._provider.get_tracer(SERVICE)

    def close(self) -> None:
        """Send the last ones; a collector that is away must not hold up the end."""
        last = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_CLOSE_SECONDS)

    @contextmanager
    def request(self, call: Call, route: Route) -> Iterator[None]:
        """See tracing.request."""
        given = {name: text for name in ("traceparent", "tracestate") if (text := call.header(name))}
        attributes = {
            "http.request.method": route.method,
            "http.route": route.path,
            "lighthouse.request_id": call.request_id,
            "lighthouse.agent_id": call.session.agent_id,
        }
        with self._tracer.start_as_current_span(
            f"{route.method} {route.path}",
            _CONTEXT.extract(given),
            SpanKind.SERVER,
            attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if span.is_recording():
                call.trace_id = format_trace_id(span.get_span_context().trace_id)
            try:
                yield
            except Problem as problem:
                span.set_attribute("http.response.status_code", problem.status)
                raise
            except Exception as error:
                _failed(span, error)
                raise

    def part(self, name: str, attributes: dict[str, str | int]) -> AbstractContextManager[None] | None:
        """The span of a part of a request, or None when that is not traced."""
        return self._part(name, attributes) if get_current_span().is_recording() else None

    @contextmanager
    def _part(self, name: str, attributes: dict[str, str | int]) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as part:
            try:
                yield
            except Problem:
                # Whom it concerns is told; nothing failed.
                raise
            except Exception as error:
                _failed(part, error)
                raise

    def note(self, attributes: Mapping[str, str | bool | float]) -> None:
        """See tracing.note."""
        current = get_current_span()
        for name, value in attributes.items():
            short = value[:_LONGEST] if isinstance(value, str) else value
            current.set_attribute(name.replace("__", "."), short)

    def carried(self) -> dict[str, str]:
        """See tracing.carried."""
        headers: dict[str, str] = {}
        _CONTEXT.inject(headers)
        return headers


class _Exporter(OTLPSpanExporter):
    """Counts what becomes of spans, and says why some are lost."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = super().export(spans)
        except CredentialError as error:
            log.warning("spans not sent", reason=str(error), spans=len(spans))
            result = SpanExportResult.FAILURE
        sent = result is SpanExportResult.SUCCESS
        metrics.trace_spans.labels("sent" if sent else "lost").inc(len(spans))
        return result


def _exporter(remote: Remote) -> _Exporter:
    def authorise(request: PreparedRequest) -> PreparedRequest:
        request.headers.update(remote.credentials())
        return request

    # Its words come through the standard library's log.
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_Forward(logging.WARNING)], False
    session = requests.Session()
    # Neither a proxy nor a password that somebody's environment or home folder names.
    session.trust_env = False
    session.auth = authorise
    return _Exporter(
        endpoint=remote.url,
        certificate_file=str(remote.ca_file) if remote.ca_file else None,
        headers={},
        timeout=EXPORT_SECONDS,
        compression=Compression.Gzip,
        session=session,
    )


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces", reason=record.getMessage()[:300])


def _failed(span: Span, error: Exception) -> None:
    """Mark a span as failed by the error's kind: its text may hold what was asked."""
    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", type(error).__name__)
