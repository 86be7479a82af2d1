"""Traces: which parts of a request took how long, for an OpenTelemetry collector, by OTLP over HTTP.

Off, which is the default, nothing that makes spans is loaded. Spans say names, ids and outcomes, never what a call
holds. A trace begins in the hook or here, behind the check of the session: nobody without one can have spans made.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from .exchange import Call
    from .remote import Remote
    from .route import Route
    from .spans import Spans

_NOTHING: AbstractContextManager[None] = nullcontext()
_spans: Spans | None = None


def start(remote: Remote, ratio: float) -> Callable[[], None]:
    """Send spans to a collector from now on: of traces that begin here a share of `ratio`, of others those that
    whoever began them keeps. Returns what sends the last ones and ends that."""
    from .spans import Spans  # noqa: PLC0415 - for those who want traces: it takes 8 MB

    global _spans  # noqa: PLW0603 - like metrics and logs, of the process
    started = _spans = Spans(remote, ratio)

    def stop() -> None:
        global _spans  # noqa: PLW0603 - as above
        _spans = None
        started.close()

    return stop


def request(call: Call, route: Route) -> AbstractContextManager[None]:
    """The span of a request whose session is known."""
    return _NOTHING if _spans is None else _spans.request(call, route)


def span(name: str, **attributes: str | int) -> AbstractContextManager[Any]:
    """A part of the request that is being served, if it is traced."""
    return _NOTHING if _spans is None else _spans.part(name, attributes) or _NOTHING


def note(**attributes: str | bool | float) -> None:
    """Say more about the request that is being served, if it is traced; a name's `__` stands for a dot."""
    if _spans is not None:
        _spans.note(attributes)


def carried() -> dict[str, str]:
    """The headers by which a server that is asked within this request takes part in its trace."""
    return {} if _spans is None else _spans.carried()
