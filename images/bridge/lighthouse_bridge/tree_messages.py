"""Bodies of the routes for the project's tree, its files and context packages; see `messages`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from .messages import AgentId, Answer, Path, Request, Sha256


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
    file_types: Annotated[list[Annotated[str, Meta(min_length=1, max_length=32)]], Meta(max_length=32)] = (
        field(default_factory=list)
    )
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


class TreeQuery(Request):
    at: Annotated[str, Meta(max_length=64)] | None = None
    sequence: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    prefix: Annotated[str, Meta(max_length=4096)] = ""


class ReadQuery(Request):
    at: Annotated[str, Meta(max_length=64)] | None = None
