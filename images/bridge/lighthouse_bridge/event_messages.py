"""Bodies of the routes for events, their streams and snapshots; see `messages`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from .events import EventType, StreamLine  # noqa: TC001 - msgspec resolves annotations at run time
from .messages import AgentId, Answer, Path, Request, Text

# The bridge's own ids are times and sequences, which nobody may take in advance.
EventId = Annotated[str, Meta(pattern=r"^(?!\d+_\d+_)[A-Za-z0-9][A-Za-z0-9._:-]{7,127}$")]
Gap = Annotated[list[int], Meta(min_length=2, max_length=2, description="First and last missing sequence.")]
SnapshotName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class EventStoreRequest(Request):
    event_type: EventType
    aggregate_id: Text | None = None
    aggregate_type: Text | None = None
    agent_id: AgentId | None = None
    data: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    # The same event under the same id is stored once, however often it is sent.
    event_id: EventId | None = None
    # The aggregate's last sequence, 0 for a new one; another version is a conflict.
    expected_version: Annotated[int, Meta(ge=0, le=2**62)] | None = None


class EventBatchRequest(Request):
    events: Annotated[list[EventStoreRequest], Meta(min_length=1, max_length=1000)]


class EventBatchAnswer(Answer):
    status: Literal["stored"]
    count: int
    first_sequence: int
    last_sequence: int
    event_ids: list[str]


class EventsAnswer(Answer):
    """`more` says that the limit, or the size of the events, cut the answer short."""

    events: list[StreamLine]
    count: int
    more: bool


class EventHead(Answer):
    """Where the store ends; kept elsewhere, it proves later that nothing up to here was changed or cut off."""

    sequence: int
    hash: str
    signature: str
    # By keys that are being replaced: a head that was saved before may have one of them.
    earlier_signatures: list[str]


class VerifyAnswer(Answer):
    """One page of a verification: go on from `sequence` and `hash` while `more`."""

    sequence: int
    hash: str
    count: int
    gaps: list[Gap]
    problems: list[str]
    more: bool


class EventStats(Answer):
    events: int
    first_sequence: int
    last_sequence: int
    missing_sequences: int
    first_timestamp: str | None
    last_timestamp: str | None
    types: dict[str, int]
    agents: int
    aggregates: int


class SnapshotEntry(Answer):
    name: str
    sequence: int
    created_at: str
    sha256: str
    size: int
    automatic: bool


class SnapshotsAnswer(Answer):
    snapshots: list[SnapshotEntry]
    count: int


class RestoreRequest(Request):
    snapshot: SnapshotName
    # Only these; a path that the snapshot lacks is deleted.
    file_paths: Annotated[list[Path], Meta(max_length=1000)] | None = None


class RestoreAnswer(Answer):
    success: bool
    snapshot: str
    restored: int
    deleted: int
    sequence: int


class EventStoreAnswer(Answer):
    event_id: str
    status: Literal["stored"]
    message: str
    sequence: int


class EventQueryAnswer(Answer):
    events: list[StreamLine]
    count: int
    message: str


class HeartbeatLine(Answer):
    """Sent on a stream after silence; resume after its sequence."""

    heartbeat: Literal[True]
    sequence: int


class ClosingLine(Answer):
    """The last line of a stream that the bridge ends; resume after its sequence."""

    closing: Literal[True]
    sequence: int
    reason: str


class StreamQuery(Request):
    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    # Event types, agents and aggregates, each separated by commas; all when empty.
    types: Annotated[str, Meta(max_length=4096)] = ""
    agents: Annotated[str, Meta(max_length=4096)] = ""
    aggregates: Annotated[str, Meta(max_length=4096)] = ""


class EventQuery(Request):
    event_type: EventType | None = None
    agent_id: AgentId | None = None
    start_time: Annotated[str, Meta(max_length=64)] | None = None
    end_time: Annotated[str, Meta(max_length=64)] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class EventsQuery(Request):
    """Lists are separated by commas; times and sequences at the ends are included, but for `after`."""

    types: Annotated[str, Meta(max_length=4096)] = ""
    aggregates: Annotated[str, Meta(max_length=8192)] = ""
    agents: Annotated[str, Meta(max_length=8192)] = ""
    after: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    until: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    start_time: Annotated[str, Meta(max_length=64)] | None = None
    end_time: Annotated[str, Meta(max_length=64)] | None = None
    correlation_id: Annotated[str, Meta(max_length=2000)] | None = None
    text: Annotated[str, Meta(max_length=1024)] | None = None
    order: Literal["sequence", "timestamp"] = "sequence"
    direction: Literal["ascending", "descending"] = "ascending"
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100


class VerifyQuery(Request):
    after: Annotated[int, Meta(ge=0, le=2**62)] = 0
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] = "0" * 64
    limit: Annotated[int, Meta(ge=1, le=50_000)] = 20_000


class HeadQuery(Request):
    sequence: Annotated[int, Meta(ge=0, le=2**62)] | None = None
