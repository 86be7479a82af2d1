"""What is said over a WebSocket, by the client and by the bridge; docs/streams.md describes it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

SubscriptionId = Annotated[str, Meta(min_length=1, max_length=64)]
Names = Annotated[list[Annotated[str, Meta(min_length=1, max_length=256)]], Meta(max_length=256)]


class Ping(msgspec.Struct, tag="ping", tag_field="type", forbid_unknown_fields=True):
    """Asks for a pong."""


class Subscribe(msgspec.Struct, tag="subscribe", tag_field="type", forbid_unknown_fields=True):
    """Asks for events after `after` that pass the filters, under an id of the client's choice."""

    id: SubscriptionId
    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    types: Names = []
    agents: Names = []
    aggregates: Names = []


class Unsubscribe(msgspec.Struct, tag="unsubscribe", tag_field="type", forbid_unknown_fields=True):
    """Ends a subscription."""

    id: SubscriptionId


Received = Ping | Subscribe | Unsubscribe


class Pong(msgspec.Struct, tag="pong", tag_field="type"):
    """The answer to a ping."""


class Subscribed(msgspec.Struct, tag="subscribed", tag_field="type"):
    """Comes before the first event of a subscription."""

    id: str
    after: int


class Event(msgspec.Struct, tag="event", tag_field="type"):
    """An event of a subscription."""

    id: str
    event: msgspec.Raw


class Heartbeat(msgspec.Struct, tag="heartbeat", tag_field="type"):
    """Nothing wanted happened for a while; the subscription can be resumed after `sequence`."""

    id: str
    sequence: int


class Unsubscribed(msgspec.Struct, tag="unsubscribed", tag_field="type"):
    """The last message of a subscription."""

    id: str


class Refused(msgspec.Struct, tag="error", tag_field="type"):
    """What a message of the client was refused for; `status` is what HTTP would say."""

    status: int
    detail: str
    id: str | None = None
