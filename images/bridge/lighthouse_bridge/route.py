"""A route: everything that serving it, guarding it and documenting it needs, said once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .exchange import JSON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .bridge import Bridge
    from .credentials import Role
    from .exchange import Call, Reply, StreamReply

    Handle = Callable[["Bridge", "Call"], Awaitable["Reply | StreamReply"]]

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method on one path. `body` may name alternatives; the first whose required fields are there is
    used. `answers` maps status to type (None: no JSON body); errors common to all routes are derived."""

    method: str
    path: str
    handle: Handle
    summary: str
    answers: dict[int, Any]
    role: Role | None = None
    public: bool = False
    # The body must be signed: whoever overhears it can neither send it again nor change it.
    signed: bool = False
    # Whether it counts towards the agent's requests of a minute.
    counted: bool = True
    body: tuple[type, ...] = ()
    body_optional: bool = False
    body_limit: int = MIB
    raw_body: bool = False
    query: type | None = None
    media_types: tuple[str, ...] = (JSON,)
    errors: frozenset[int] = field(default=frozenset())

    @property
    def has_body(self) -> bool:
        """Whether the route reads a JSON body."""
        return bool(self.body)

    @property
    def statuses(self) -> set[int]:
        """Every status code this route can answer."""
        found = set(self.answers) | set(self.errors)
        if not self.public:
            found |= {401, 429, 503} if self.counted else {401, 503}
        if self.role is not None and self.role > 1:
            found.add(403)
        if self.has_body:
            found |= {400, 413, 415, 422}
        if self.raw_body:
            found |= {400, 413}
        if self.query is not None:
            found.add(422)
        if "{" in self.path:
            found.add(400)
        return found
