"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging

import structlog

from .redaction import redact


def configure(level: str) -> None:
    """Log from `level` (debug, info, warning, error) up."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        cache_logger_on_first_use=True,
    )
