"""Bodies of requests and answers. Requests refuse unknown fields; these types also make /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .decisions.explanation import RuleEntry  # noqa: TC001 - msgspec resolves annotations at run time

AgentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=1024)]
# How long a caller is ready to wait for experts and people.
WaitSeconds = Annotated[float, Meta(ge=0, le=30)]
Path = Annotated[str, Meta(min_length=1, max_length=4096)]


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
    """The bridge's own shape of a validation. A shell's input may name the folder it works in, from the project's
    root, as `cwd`."""

    tool_name: Name
    tool_input: dict[str, Any]
    agent_id: AgentId
    session_token: Text | None = None
    metadata: dict[str, Any] = {}
    wait_seconds: WaitSeconds | None = None


class HookRequest(Request):
    """The shape hooks send; inputs are those of ToolRequest."""

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
    rule: str
    rules_version: str
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


class PageQuery(Request):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
