"""Bodies of requests and answers. Requests refuse unknown fields; these types also make /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .decisions.explanation import RuleEntry  # noqa: TC001 - msgspec resolves annotations at run time
from .events import EventType, StreamLine  # noqa: TC001 - msgspec resolves annotations at run time

AgentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
# How long a caller is ready to wait for experts and people.
WaitSeconds = Annotated[float, Meta(ge=0, le=30)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]
# The bridge's own ids are times and sequences, which nobody may take in advance.
EventId = Annotated[str, Meta(pattern=r"^(?!\d+_\d+_)[A-Za-z0-9][A-Za-z0-9._:-]{7,127}$")]
Gap = Annotated[list[int], Meta(min_length=2, max_length=2, description="First and last missing sequence.")]
SnapshotName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """Base of everything a client sends."""


class Answer(msgspec.Struct):
    """Base of everything the bridge answers."""


class ErrorAnswer(Answer):
    """Every error: one sentence."""

    detail: str


class HealthAnswer(Answer):
    status: Literal["healthy"]
    service: Literal["lighthouse-bridge"]


class ReadyAnswer(Answer):
    status: Literal["ready"]


class StatusAnswer(Answer):
    status: Literal["operational", "stopped"]
    mode: Literal["normal", "degraded"]
    components: dict[str, str]
    active_agents: int
    pending_validations: int
    uptime_seconds: float
    sequence: int
    rules_version: str


class SessionCreateRequest(Request):
    agent_id: AgentId
    ip_address: Text = ""
    user_agent: Text = ""
    metadata: dict[str, Any] = {}


class SessionCreateAnswer(Answer):
    session_id: str
    session_token: str
    expires_at: str
    agent_id: str
    role: Literal["expert", "builder", "operator"]


class SessionValidateRequest(Request):
    session_token: Text
    agent_id: AgentId
    ip_address: Text = ""
    user_agent: Text = ""


class SessionValidateAnswer(Answer):
    valid: bool


class SessionEndRequest(Request):
    """Without a field the session of the request's token is ended; operators may name another one."""

    session_id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")] | None = None


class SessionEndAnswer(Answer):
    success: Literal[True]


class SessionEntry(Answer):
    """A live session; when it was last seen is up to a minute old."""

    session_id: str
    agent_id: str
    role: Literal["expert", "builder", "operator"]
    created_at: str
    last_seen_at: str
    expires_at: str
    ip_address: str
    user_agent: str


class SessionsAnswer(Answer):
    sessions: list[SessionEntry]
    count: int


class ToolRequest(Request):
    """The bridge's own shape of a validation."""

    tool_name: Name
    tool_input: dict[str, Any]
    agent_id: AgentId
    session_token: Text | None = None
    metadata: dict[str, Any] = {}
    wait_seconds: WaitSeconds | None = None


class HookRequest(Request):
    """The shape hooks send."""

    tool: Name
    input: dict[str, Any]
    agent: AgentId
    id: Name | None = None
    wait_seconds: WaitSeconds | None = None


class VerdictDetails(Answer):
    decision: Literal["approved", "blocked", "escalate"]
    risk_level: Literal["low", "medium", "high", "critical"]
    cache_hit: bool
    expert_required: bool
    rule: str
    layer: str
    rules_version: str
    validation_id: str


class ToolAnswer(Answer):
    approved: bool
    reasoning: str
    confidence: float
    processing_time_ms: float
    metadata: VerdictDetails


class HookAnswer(Answer, omit_defaults=True):
    status: Literal["approved", "blocked", "review_required"]
    reason: str
    id: str
    concern: str | None = None


class ExpertResponse(Answer):
    """What an expert answered to a validation."""

    expert_id: str
    agent_type: str
    decision: Literal["approve", "deny", "abstain"]
    confidence: float
    reasoning: str


class PendingValidation(Answer):
    id: str
    created_at: str
    sequence: int
    agent_id: str
    tool_name: str
    tool_input: dict[str, Any]
    reason: str
    risk_level: str
    stage: Literal["experts", "human"]
    expires_at: str
    responses: list[ExpertResponse]


class PendingAnswer(Answer):
    pending: list[PendingValidation]
    count: int


class ApproveRequest(Request):
    """A person's decision; `remember` says whether it holds for this agent's next same call, for all of them
    or for those of all agents, and `expires_in` for how many seconds."""

    id: Name
    status: Literal["approved", "blocked"]
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]
    remember: Literal["once", "agent", "always"] = "once"
    expires_in: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None


class ApproveAnswer(Answer):
    success: Literal[True]
    id: str
    status: Literal["approved", "blocked"]
    decided_by: str
    remembered_until: str


class StandingApproval(Answer):
    """What a person decided in advance; `agent_id` is null for all agents, `uses_left` null for no limit."""

    approval_id: str
    status: Literal["approved", "blocked"]
    agent_id: str | None
    tool_name: str | None
    tool_input: dict[str, Any] | None
    uses_left: int | None
    decided_by: str
    reason: str
    validation_id: str
    created_at: str
    expires_at: str


class ApprovalsAnswer(Answer):
    approvals: list[StandingApproval]
    count: int


class RevokeRequest(Request):
    approval_id: Name
    reason: Annotated[str, Meta(min_length=1, max_length=1024)]


class RevokeAnswer(Answer):
    success: Literal[True]
    approval_id: str


class ExplainRequest(Request):
    """A tool call to be judged without asking for it: nothing is recorded and nobody is asked."""

    tool_name: Name
    tool_input: dict[str, Any]


class RulesAnswer(Answer):
    """The rules in force."""

    rules_version: str
    rules: list[RuleEntry]
    count: int


class Update(Request):
    """One change of the tree; `content` is a symlink's target when `kind` is symlink."""

    operation: Literal["create", "update", "delete"]
    file_path: Path
    content: str | None = None
    encoding: Literal["utf-8", "base64"] = "utf-8"
    content_hash: Sha256 | None = None
    kind: Literal["file", "symlink"] = "file"
    executable: bool = False
    # The hash the file must have now; "" when it must not exist.
    expected_hash: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] | None = None


class UpdateRequest(Update, kw_only=True):
    agent_id: AgentId


class UpdatesRequest(Request):
    agent_id: AgentId
    updates: Annotated[list[Update], Meta(min_length=1, max_length=1000)]


class UpdateAnswer(Answer):
    success: Literal[True]
    sequence: int
    content_hash: str
    path: str


class UpdatesAnswer(Answer):
    """`count` changes were made; the sequences are null when none was needed."""

    success: Literal[True]
    first_sequence: int | None
    last_sequence: int | None
    count: int


class BlobAnswer(Answer):
    success: Literal[True]
    content_hash: str
    size: int


class BlobsFetchRequest(Request):
    hashes: Annotated[list[Sha256], Meta(min_length=1, max_length=1000)]


class TreeAnswer(Answer):
    sequence: int
    at: str | None
    files: list[tuple[str, str, bool, int, str, int]]


class FileVersion(Answer):
    sequence: int
    timestamp: str
    operation: Literal["create", "update", "delete"]
    content_hash: str | None
    size: int
    agent_id: str


class HistoryAnswer(Answer):
    path: str
    versions: list[FileVersion]


class SearchRequest(Request):
    pattern: Annotated[str, Meta(min_length=1, max_length=1024)]
    # File name endings, such as ".py" or "py".
    file_types: Annotated[list[Annotated[str, Meta(min_length=1, max_length=32)]], Meta(max_length=32)] = []
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1000


class Match(Answer):
    file_path: str
    line: int
    text: str


class SearchAnswer(Answer):
    """`truncated` says that the limit or the time ran out before the tree was searched."""

    matches: list[Match]
    truncated: bool


class AnnotateRequest(Request):
    file_path: Path
    line: Annotated[int, Meta(ge=1, le=100_000_000)]
    annotation: Annotated[str, Meta(min_length=1, max_length=65_536)]
    expert_id: AgentId


class AnnotateAnswer(Answer):
    success: Literal[True]
    annotation_id: str
    sequence: int


class Annotation(Answer):
    annotation_id: str
    line: int
    annotation: str
    expert_id: str
    created_at: str
    sequence: int


class DocumentAnswer(Answer):
    original_content: str
    encoding: Literal["utf-8", "base64"]
    ast_annotations: list[Annotation]
    file_path: str
    generated_at: str


class PackageEntry(Answer):
    id: str
    created_at: str
    sequence: int


class PackagesAnswer(Answer):
    packages: list[PackageEntry]


class PackageAnswer(Answer):
    manifest: dict[str, Any]
    files: dict[str, Any]
    context: dict[str, Any]


class EventStoreRequest(Request):
    event_type: EventType
    aggregate_id: Text | None = None
    aggregate_type: Text | None = None
    agent_id: AgentId | None = None
    data: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
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
    """`more` says that the limit cut the answer short."""

    events: list[StreamLine]
    count: int
    more: bool


class EventHead(Answer):
    """Where the store ends; kept elsewhere, it proves later that nothing up to here was changed or cut off."""

    sequence: int
    hash: str
    signature: str


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


class TreeQuery(Request):
    at: Annotated[str, Meta(max_length=64)] | None = None
    sequence: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    prefix: Annotated[str, Meta(max_length=4096)] = ""


class ReadQuery(Request):
    at: Annotated[str, Meta(max_length=64)] | None = None


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


class PageQuery(Request):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
