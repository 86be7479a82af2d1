"""Bodies of the routes by which agents talk to each other: elicitations, pairs, collaborations; see `messages`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from .messages import AgentId, Answer, Name, Request, WaitSeconds

Long = Annotated[str, Meta(min_length=1, max_length=65_536)]
Id = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}$")]
Mode = Literal["passive", "active", "collaborative", "review"]
PairStatus = Literal["pending", "active", "completed", "cancelled"]


class Field(Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One value that is asked for."""

    type: Literal["string", "number", "integer", "boolean"]
    title: Annotated[str, Meta(max_length=256)] = ""
    description: Annotated[str, Meta(max_length=1024)] = ""
    enum: Annotated[list[str], Meta(min_length=1, max_length=100)] | None = None
    min_length: Annotated[int, Meta(ge=0)] | None = None
    max_length: Annotated[int, Meta(ge=0)] | None = None
    minimum: float | None = None
    maximum: float | None = None


class Form(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What an answer must look like: the flat part of JSON Schema that MCP's elicitation uses. No references and
    no regular expressions: whoever asks must not be able to make the bridge fetch or compute."""

    type: Literal["object"]
    properties: Annotated[dict[str, Field], Meta(min_length=1, max_length=100)]
    required: Annotated[list[str], Meta(max_length=100)] = []


class ElicitRequest(Request):
    from_agent: AgentId
    to_agent: AgentId
    message: Annotated[str, Meta(min_length=1, max_length=4096)]
    schema: Form
    timeout_seconds: Annotated[float, Meta(ge=1, le=3600)] = 30


class ElicitAnswer(Answer):
    elicitation_id: str
    status: Literal["pending"]
    expires_at: str
    message: str


class PendingQuery(Request):
    agent_id: AgentId
    wait: WaitSeconds = 0.0


class Elicitation(Answer):
    """A question that waits for its addressee."""

    elicitation_id: str
    from_agent: str
    message: str
    schema: dict[str, Any]
    created_at: str
    expires_at: str


class ElicitationsAnswer(Answer):
    elicitations: list[Elicitation]
    count: int


class RespondRequest(Request):
    """`data` belongs to accept alone, and is as the question's schema demands."""

    elicitation_id: Id
    responding_agent: AgentId
    response_type: Literal["accept", "decline", "cancel"]
    data: dict[str, Any] | None = None


class RespondAnswer(Answer):
    status: Literal["accepted", "declined", "cancelled"]
    message: str


class ElicitationState(Answer):
    """How a question stands; only who asked, the addressee and operators are told."""

    elicitation_id: str
    from_agent: str
    to_agent: str
    status: Literal["pending", "accepted", "declined", "cancelled", "expired"]
    delivered: bool
    created_at: str
    expires_at: str
    responded_at: str | None
    data: dict[str, Any] | None


class ElicitationMetrics(Answer):
    """Questions of the last day, and refused messages since this bridge started."""

    created: int
    delivered: int
    accepted: int
    declined: int
    cancelled: int
    expired: int
    average_response_seconds: float
    refused: dict[str, int]


class PairRequest(Request):
    requester: AgentId
    task: Long
    mode: Mode = "collaborative"


class PairAcceptRequest(Request):
    session_id: Id
    partner: AgentId


class PairAnswer(Answer):
    session_id: str
    status: PairStatus
    mode: Mode


class SuggestRequest(Request):
    session_id: Id
    agent: AgentId
    suggestion: Long


class SuggestAnswer(Answer):
    suggestion_id: str
    status: Literal["open"]


class ReviewRequest(Request):
    session_id: Id
    suggestion_id: Id
    reviewer: AgentId
    decision: Literal["approve", "reject", "modify"]
    feedback: Annotated[str, Meta(max_length=65_536)] = ""


class ReviewAnswer(Answer):
    suggestion_id: str
    status: Literal["approved", "rejected", "modified"]


class PairEndRequest(Request):
    session_id: Id
    agent: AgentId
    outcome: Literal["completed", "cancelled"]


class Suggestion(Answer):
    suggestion_id: str
    agent: str
    suggestion: str
    status: Literal["open", "approved", "rejected", "modified"]
    reviewer: str | None
    feedback: str
    created_at: str


class PairSession(Answer):
    session_id: str
    requester: str
    partner: str | None
    task: str
    mode: Mode
    status: PairStatus
    created_at: str
    updated_at: str
    suggestions: list[Suggestion]


class PairSessionsAnswer(Answer):
    sessions: list[PairSession]
    count: int


class PairQuery(Request):
    status: PairStatus | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class CollaborationRequest(Request):
    participants: Annotated[list[AgentId], Meta(min_length=1, max_length=20)]
    collaboration_type: Name = "review"
    objective: Annotated[str, Meta(max_length=65_536)] = ""
    metadata: dict[str, Any] = field(default_factory=dict)


class CollaborationAnswer(Answer):
    session_id: str
    status: Literal["started"]
    message: str
    participants: list[str]


class PostRequest(Request):
    session_id: Id
    message: Long


class PostAnswer(Answer):
    sequence: int


class CollaborationEndRequest(Request):
    session_id: Id


class CollaborationEndAnswer(Answer):
    session_id: str
    status: Literal["ended"]


class CollaborationQuery(Request):
    after: Annotated[int, Meta(ge=0, le=2**62)] = 0


class CollaborationMessage(Answer):
    sequence: int
    agent: str
    message: str
    created_at: str


class Collaboration(Answer):
    """A collaboration and its messages after the sequence asked for, at most 1,000."""

    session_id: str
    started_by: str
    participants: list[str]
    collaboration_type: str
    objective: str
    metadata: dict[str, Any]
    status: Literal["active", "ended"]
    created_at: str
    messages: list[CollaborationMessage]
