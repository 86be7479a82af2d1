"""All routes of the bridge, in the order they are matched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .api import (
    blobs,
    collaborations,
    context,
    elicitations,
    events,
    experts,
    pairs,
    public,
    rules,
    sessions,
    shadow,
    snapshots,
    streams,
    validation,
)
from .exchange import Reply
from .openapi import build_openapi
from .route import Route

if TYPE_CHECKING:
    from .bridge import Bridge
    from .exchange import Call

API_VERSION = "1"


async def _openapi(_bridge: Bridge, _call: Call) -> Reply:
    return Reply(_DOCUMENT)


ROUTES: tuple[Route, ...] = (
    *public.ROUTES,
    Route(
        method="GET",
        path="/openapi.json",
        handle=_openapi,
        public=True,
        summary="This description",
        answers={200: dict[str, Any]},
    ),
    *sessions.ROUTES,
    *validation.ROUTES,
    *rules.ROUTES,
    *experts.ROUTES,
    *elicitations.ROUTES,
    *pairs.ROUTES,
    *collaborations.ROUTES,
    *blobs.ROUTES,
    *shadow.ROUTES,
    *context.ROUTES,
    *events.ROUTES,
    *snapshots.ROUTES,
    *streams.ROUTES,
)

_DOCUMENT = msgspec.json.encode(build_openapi(ROUTES, API_VERSION))
