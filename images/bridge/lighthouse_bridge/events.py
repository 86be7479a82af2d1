"""Events: their types, the row each becomes, and the line each is streamed as. Pure."""

from __future__ import annotations

import hashlib
import os
import uuid
from enum import StrEnum
from typing import Any

import msgspec

from .chain import Head, row_hash
from .clock import iso

_NODE = f"{uuid.getnode() & 0xFFFF:04x}{os.getpid() & 0xFFFF:04x}"


class EventType(StrEnum):
    """Every type of event the store keeps; other names are refused."""

    COMMAND_RECEIVED = "command_received"
    COMMAND_VALIDATED = "command_validated"
    COMMAND_EXECUTED = "command_executed"
    COMMAND_FAILED = "command_failed"
    AGENT_REGISTERED = "agent_registered"
    AGENT_DISCONNECTED = "agent_disconnected"
    AGENT_HEARTBEAT = "agent_heartbeat"
    SHADOW_UPDATED = "shadow_updated"
    SHADOW_CREATED = "shadow_created"
    SHADOW_DELETED = "shadow_deleted"
    FILE_CREATED = "file_created"
    FILE_MODIFIED = "file_modified"
    FILE_DELETED = "file_deleted"
    FILE_MOVED = "file_moved"
    FILE_COPIED = "file_copied"
    DIRECTORY_CREATED = "directory_created"
    DIRECTORY_DELETED = "directory_deleted"
    DIRECTORY_MOVED = "directory_moved"
    VALIDATION_REQUEST_SUBMITTED = "validation_request_submitted"
    VALIDATION_POLICY_APPLIED = "validation_policy_applied"
    VALIDATION_ESCALATED_TO_EXPERT = "validation_escalated_to_expert"
    VALIDATION_DECISION_MADE = "validation_decision_made"
    AGENT_SESSION_STARTED = "agent_session_started"
    AGENT_SESSION_ENDED = "agent_session_ended"
    EXPERT_AGENT_SUMMONED = "expert_agent_summoned"
    EXPERT_AGENT_RESPONDED = "expert_agent_responded"
    PAIR_SESSION_STARTED = "pair_session_started"
    PAIR_SESSION_ENDED = "pair_session_ended"
    PAIR_SUGGESTION_MADE = "pair_suggestion_made"
    PAIR_SUGGESTION_ACCEPTED = "pair_suggestion_accepted"
    PAIR_SUGGESTION_REJECTED = "pair_suggestion_rejected"
    SHADOW_ANNOTATION_CREATED = "shadow_annotation_created"
    SHADOW_ANNOTATION_UPDATED = "shadow_annotation_updated"
    SHADOW_ANNOTATION_DELETED = "shadow_annotation_deleted"
    SYSTEM_STARTED = "system_started"
    SYSTEM_SHUTDOWN = "system_shutdown"
    DEGRADATION_TRIGGERED = "degradation_triggered"
    RECOVERY_COMPLETED = "recovery_completed"
    PROJECT_INITIALIZED = "project_initialized"
    BACKUP_CREATED = "backup_created"
    SNAPSHOT_CREATED = "snapshot_created"
    SNAPSHOT_RESTORED = "snapshot_restored"
    CUSTOM = "custom"


# What the bridge alone asserts: its projections are built from these, so no client may store one.
RESERVED = frozenset(
    {
        EventType.FILE_CREATED,
        EventType.FILE_MODIFIED,
        EventType.FILE_DELETED,
        EventType.VALIDATION_REQUEST_SUBMITTED,
        EventType.VALIDATION_POLICY_APPLIED,
        EventType.VALIDATION_ESCALATED_TO_EXPERT,
        EventType.VALIDATION_DECISION_MADE,
        EventType.AGENT_SESSION_STARTED,
        EventType.AGENT_SESSION_ENDED,
        EventType.AGENT_REGISTERED,
        EventType.AGENT_DISCONNECTED,
        EventType.EXPERT_AGENT_SUMMONED,
        EventType.EXPERT_AGENT_RESPONDED,
        EventType.SHADOW_ANNOTATION_CREATED,
        EventType.SYSTEM_STARTED,
        EventType.SYSTEM_SHUTDOWN,
        EventType.SNAPSHOT_CREATED,
        EventType.SNAPSHOT_RESTORED,
    }
)


class EventRecord(msgspec.Struct, frozen=True):
    """The whole event as `event_data` keeps it."""

    event_id: str
    event_type: str
    agent_id: str | None
    data: msgspec.Raw
    timestamp: str
    aggregate_id: str | None
    aggregate_version: int
    metadata: msgspec.Raw


class StreamLine(msgspec.Struct, frozen=True):
    """One event as `/events/stream` and `/event/query` show it."""

    sequence: int
    event_id: str
    event_type: str
    timestamp: str
    agent_id: str | None
    aggregate_id: str | None
    data: msgspec.Raw


# The columns of `chain.COLUMNS`, and the row's hash.
Row = tuple[int, str, str, int, str | None, str | None, int | None, str, str | None, str | None, int, bytes]

_encode = msgspec.json.Encoder().encode
decode_record = msgspec.json.Decoder(EventRecord).decode


class _Correlated(msgspec.Struct):
    correlation_id: Any = None


def correlation_of(metadata: str | bytes) -> str | None:
    """The correlation that an event's metadata (JSON) names, or None."""
    try:
        named = msgspec.json.decode(metadata, type=_Correlated).correlation_id
    except msgspec.MsgspecError:
        return None
    return named if isinstance(named, str) and named else None


def legacy_checksum(sequence: int, event_id: str, event_type: str, data: dict[str, Any]) -> str:
    """The published format's checksum: it covers Python's repr of the data, and nothing else."""
    text = f"{sequence}:{event_id}:{event_type}:{data}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def build_row(
    head: Head,
    timestamp_us: int,
    event_type: str,
    agent_id: str | None,
    aggregate_id: str | None,
    data: dict[str, Any],
    metadata: dict[str, Any],
    event_id: str | None = None,
) -> tuple[Row, StreamLine, Head]:
    """The row of `events` that follows `head`, the streamed line, and the new head. The sequence makes an id
    that is not given unique."""
    sequence = head.sequence + 1
    if event_id is None:
        event_id = f"{timestamp_us}_{sequence}_{_NODE}"
    raw_data = msgspec.Raw(_encode(data))
    raw_metadata = _encode(metadata)
    timestamp = iso(timestamp_us)
    record = EventRecord(
        event_id, event_type, agent_id, raw_data, timestamp, aggregate_id, sequence, msgspec.Raw(raw_metadata)
    )
    columns = (
        sequence,
        event_id,
        event_type,
        timestamp_us,
        agent_id,
        aggregate_id,
        sequence,
        _encode(record).decode(),
        raw_metadata.decode(),
        legacy_checksum(sequence, event_id, event_type, data),
        timestamp_us // 1_000_000,
    )
    digest = row_hash(head.hash, columns)
    line = StreamLine(sequence, event_id, event_type, timestamp, agent_id, aggregate_id, raw_data)
    return (*columns, digest), line, Head(sequence, timestamp_us, digest)


def line_of(sequence: int, record: EventRecord) -> StreamLine:
    """The streamed line of a stored event."""
    return StreamLine(
        sequence,
        record.event_id,
        record.event_type,
        record.timestamp,
        record.agent_id,
        record.aggregate_id,
        record.data,
    )


def read_line(sequence: int, event_data: str) -> StreamLine:
    """The streamed line of a row."""
    return line_of(sequence, decode_record(event_data))
