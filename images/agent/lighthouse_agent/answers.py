"""The bridge's answers, as far as the agent uses them; unknown fields are ignored."""

from typing import Any

import msgspec


class Session(msgspec.Struct, frozen=True):
    """Answer of POST /session/create."""

    session_id: str
    session_token: str
    agent_id: str
    role: str


class VerdictMetadata(msgspec.Struct, frozen=True):
    """How a verdict came about."""

    decision: str
    expert_required: bool = False
    validation_id: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """Answer of POST /validate."""

    approved: bool
    reasoning: str
    metadata: VerdictMetadata


class Registration(msgspec.Struct, frozen=True):
    """Answer of POST /expert/register; its token is not used here and so not kept."""

    success: bool
    message: str
    agent_id: str


class Heartbeat(msgspec.Struct, frozen=True):
    """Answer of POST /expert/heartbeat."""

    status: str


class WorkItem(msgspec.Struct, frozen=True):
    """Work for this expert; `kind` is validation, delegation or task."""

    work_id: str
    kind: str
    requested_by: str
    validation_id: str | None = None
    tool_name: str | None = None
    tool_input: dict[str, Any] | None = None
    reason: str = ""
    risk_level: str | None = None
    task_description: str | None = None


class WorkAnswer(msgspec.Struct, frozen=True):
    """Answer of GET /expert/work."""

    work: WorkItem | None


class Recorded(msgspec.Struct, frozen=True):
    """Answer of POST /expert/answer."""

    status: str


class Completed(msgspec.Struct, frozen=True):
    """Answer of POST /expert/complete."""

    success: bool


class TreeFile(msgspec.Struct, frozen=True, array_like=True):
    """One row of GET /shadow/tree: size in bytes, mtime in microseconds since the epoch."""

    path: str
    kind: str
    executable: bool
    size: int
    sha256: str
    mtime_us: int


class Tree(msgspec.Struct, frozen=True):
    """Answer of GET /shadow/tree."""

    sequence: int
    files: list[TreeFile]


class BatchResult(msgspec.Struct, frozen=True):
    """Answer of POST /shadow/updates; sequences are absent or null when nothing changed."""

    success: bool
    count: int
    last_sequence: int | None = None
