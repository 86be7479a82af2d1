"""The bridge's answers, as far as the agent uses them; unknown fields are ignored."""

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
