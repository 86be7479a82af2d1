"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from .redaction import redact

if TYPE_CHECKING:
    from .exchange import Call

_encoder = msgspec.json.Encoder(enc_hook=str)

serving: ContextVar[Call | None] = ContextVar("serving", default=None)
"""The request that is being served: each line that is logged meanwhile names it, and its agent once that is known."""


def configure_logs(level: str) -> None:
    """Send every log of this process to standard output as JSON at `level` and above."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _name_request,
            redact,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Output,
        cache_logger_on_first_use=True,
    )


class _Output:
    """Writes lines to standard output. What cannot be written, on a full disk say, is lost: a request or a
    commit must not fail for want of its log line."""

    def __init__(self, *_names: Any) -> None:
        self._descriptor = sys.stdout.fileno()

    def msg(self, line: bytes) -> None:
        """Write one line."""
        rest = line + b"\n"
        with suppress(OSError):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    debug = info = warning = error = msg


def _name_request(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if call := serving.get():
        event.setdefault("request_id", call.request_id)
        if call.session_ and event.get("agent_id") is None:
            event["agent_id"] = call.session_.agent_id
        if call.trace_id:
            event["trace_id"] = call.trace_id
    return event


def _render(_logger: Any, _method: str, event: structlog.typing.EventDict) -> bytes:
    return _encoder.encode(event)


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
