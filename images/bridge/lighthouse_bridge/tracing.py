"""Traces: which parts of a request took how long, for an OpenTelemetry collector, by OTLP over HTTP.

Off, which is the default, nothing that makes spans is loaded. Spans say names, ids and outcomes, never what a call
holds. A trace begins in the hook or here, behind the check of the session: nobody without one can have spans made.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from . import metrics
from .logs import log
from .problems import Problem
from .remote import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer
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
_NOTHING: AbstractContextManager[None] = nullcontext()
_tracer: Tracer | None = None


def start(remote: Remote, ratio: float) -> Callable[[], None]:
    """Send spans to a collector from now on: of traces that begin here a share of `ratio`, of others those that
    whoever began them keeps. Returns what sends the last ones and ends that."""
    # Loaded only for those who want traces: it takes 8 MB.
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 - like metrics and logs, of the process
    named = {"service.name": SERVICE, "service.instance.id": os.uname().nodename}
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        resource=Resource.create(named),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(
        BatchSpanProcessor(
            _exporter(remote),
            max_queue_size=QUEUE,
            max_export_batch_size=BATCH,
            schedule_delay_millis=EVERY_MILLISECONDS,
        )
    )
    _tracer = provider.get_tracer(SERVICE)

    def stop() -> None:
        global _tracer  # noqa: PLW0603 - as above
        _tracer = None
        # A collector that is away must not hold up the end.
        last = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(_CLOSE_SECONDS)

    return stop


def _exporter(remote: Remote) -> Any:
    import requests  # noqa: PLC0415 - as in `start`
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import SpanExportResult  # noqa: PLC0415

    class Exporter(OTLPSpanExporter):
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
    return Exporter(
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


def request(call: Call, route: Route) -> AbstractContextManager[None]:
    """The span of a request whose session is known."""
    return _NOTHING if _tracer is None else _serve(_tracer, call, route)


@contextmanager
def _serve(tracer: Tracer, call: Call, route: Route) -> Iterator[None]:
    from opentelemetry.trace import SpanKind, format_trace_id  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
        TraceContextTextMapPropagator,
    )

    carried = {name: call.header(name) for name in ("traceparent", "tracestate")}
    parent = TraceContextTextMapPropagator().extract({name: text for name, text in carried.items() if text})
    attributes = {
        "http.request.method": route.method,
        "http.route": route.path,
        "lighthouse.request_id": call.request_id,
        "lighthouse.agent_id": call.session.agent_id,
    }
    with tracer.start_as_current_span(
        f"{route.method} {route.path}",
        parent,
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


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A part of the request that is being served, if it is traced."""
    if _tracer is None:
        return _NOTHING
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    return _part(_tracer, name, attributes) if get_current_span().is_recording() else _NOTHING


@contextmanager
def _part(tracer: Tracer, name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    with tracer.start_as_current_span(
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


def note(**attributes: str | bool | float) -> None:
    """Say more about the request that is being served, if it is traced; a name's `__` stands for a dot."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span  # noqa: PLC0415

    current = get_current_span()
    for name, value in attributes.items():
        short = value[:_LONGEST] if isinstance(value, str) else value
        current.set_attribute(name.replace("__", "."), short)


def carried() -> dict[str, str]:
    """The headers by which a server that is asked within this request takes part in its trace."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        TraceContextTextMapPropagator().inject(headers)
    return headers


def _failed(span: Any, error: Exception) -> None:
    """Mark a span as failed by the error's kind: its text may hold what was asked."""
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415

    span.set_status(Status(StatusCode.ERROR))
    span.set_attribute("error.type", type(error).__name__)
