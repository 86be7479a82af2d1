"""Errors that a caller is told about: a status code and one sentence."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 - named after RFC 9457's problem, not an internal error
    """A refusal with its HTTP status; `detail` is one sentence for the caller."""

    def __init__(self, status: int, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


class StoreUnavailableError(Exception):
    """The event store cannot be read or written now; the message says why."""
