"""Bodies of the routes for experts and their work; see `messages`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from .messages import AgentId, Answer, Name, Request, Text, WaitSeconds


class ExpertRegisterRequest(Request):
    agent_id: AgentId
    agent_type: Name
    capabilities: Annotated[list[Name], Meta(max_length=64)]
    metadata: dict[str, Any] = field(default_factory=dict)


class ExpertRegisterAnswer(Answer):
    success: Literal[True]
    message: str
    token: str
    agent_id: str


class ExpertHeartbeatRequest(Request):
    agent_id: AgentId


class ExpertHeartbeatAnswer(Answer):
    status: Literal["available"]
    expires_at: str


class Expert(Answer):
    agent_id: str
    agent_type: str
    capabilities: list[str]
    status: Literal["available", "busy", "offline"]
    registered_at: str
    last_seen_at: str


class ExpertsAnswer(Answer):
    experts: list[Expert]
    count: int


class WorkQuery(Request):
    wait: WaitSeconds = 0.0


class WorkItem(Answer):
    """What an expert is to do: judge a validation, look at a delegated call, or do a task."""

    work_id: str
    kind: Literal["validation", "delegation", "task"]
    validation_id: str | None
    requested_by: str
    created_at: str
    deadline: str
    tool_name: str | None = None
    tool_input: dict[str, Any] | None = None
    reason: str = ""
    risk_level: Literal["low", "medium", "high", "critical"] | None = None
    task_description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class WorkAnswer(Answer):
    """`work` is null when there was none within the wait."""

    work: WorkItem | None


class ExpertAnswerRequest(Request):
    work_id: Name
    decision: Literal["approve", "deny", "abstain"]
    confidence: Annotated[float, Meta(ge=0, le=1)]
    reasoning: Annotated[str, Meta(max_length=4096)] = ""


class ExpertAnswerAnswer(Answer):
    """`late`: the validation was decided, or its time was over, before this answer."""

    status: Literal["recorded", "late"]
    validation_id: str | None


class DelegateRequest(Request):
    """`target_expert` is an expert's id, or a capability it must have."""

    tool_name: Name
    tool_input: dict[str, Any]
    target_expert: Name
    session_token: Text | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


class DelegateAnswer(Answer):
    status: Literal["delegated"]
    delegation_id: str
    target_expert: str
    message: str
    tool_name: str


class DispatchRequest(Request):
    """`target_agent` is an expert's id, or a capability it must have."""

    target_agent: Name
    task_description: Annotated[str, Meta(min_length=1, max_length=65_536)]
    priority: Literal["low", "normal", "high"] = "normal"
    metadata: dict[str, Any] = field(default_factory=dict)


class DispatchAnswer(Answer):
    task_id: str
    status: Literal["dispatched"]
    message: str


class CompleteRequest(Request):
    work_id: Name
    status: Literal["completed", "failed"]
    result: Annotated[str, Meta(max_length=65_536)] = ""


class CompleteAnswer(Answer):
    success: Literal[True]
    work_id: str
    status: Literal["completed", "failed"]


class AssignmentAnswer(Answer):
    """How a delegation or task stands; `result` is what its expert said at the end."""

    work_id: str
    kind: Literal["delegation", "task"]
    expert_id: str
    status: Literal["waiting", "working", "completed", "failed", "expired"]
    deadline: str
    result: str | None
