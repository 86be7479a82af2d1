"""The project's tree: changed, read now or at a past moment, annotated and documented."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from .. import tree_messages as m
from ..blobs import MAX_BLOB_BYTES, pack_blob
from ..clock import iso, now_us
from ..credentials import Role
from ..documents import annotate_file, build_document
from ..exchange import BYTES, JSON, MSGPACK, Reply, reply
from ..paths import OPERATORS_FOLDER, PathError, check_path, check_symlink
from ..problems import Problem
from ..route import MIB, Route
from ..search import search_tree
from ..tree import Applied, Change, apply_change, read_file, read_history, read_tree, sequence_at
from .events import read_time

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call
    from ..transactions import Connection, Transaction

_RECENT_US = 5_000_000


async def update(bridge: Bridge, call: Call) -> Reply:
    """Change one file."""
    body: m.UpdateRequest = call.body
    call.require_agent(body.agent_id)
    (applied,) = await _apply(bridge, call, [body])
    return reply(m.UpdateAnswer(True, applied.sequence, applied.content_hash, body.file_path))


async def updates(bridge: Bridge, call: Call) -> Reply:
    """Change many files, all or none; what is unchanged is skipped."""
    body: m.UpdatesRequest = call.body
    call.require_agent(body.agent_id)
    changed = [applied.sequence for applied in await _apply(bridge, call, body.updates) if applied.changed]
    first, last = (changed[0], changed[-1]) if changed else (None, None)
    return reply(m.UpdatesAnswer(True, first, last, len(changed)))


async def _apply(bridge: Bridge, call: Call, wanted: list[Any]) -> list[Applied]:
    changes = await asyncio.to_thread(lambda: [_check(update) for update in wanted])
    agent_id, operator = call.session.agent_id, call.session.role is Role.OPERATOR
    for change in changes:
        if change.path.startswith(OPERATORS_FOLDER) and not operator:
            raise Problem(
                403, f"{change.path!r} holds what the project is held by; only an operator changes it."
            )

    def work(transaction: Transaction) -> list[Applied]:
        return [
            apply_change(transaction, change, agent_id, may_delete_critical=operator) for change in changes
        ]

    return await bridge.database.write(work)


def _check(update: m.Update) -> Change:
    path = _tree_path(update.file_path)
    if update.operation == "delete":
        if update.content is not None or update.content_hash is not None:
            raise Problem(400, f"The deletion of {path!r} carries content; leave it out.")
        return Change("delete", path, update.kind, False, "", None, update.expected_hash)
    content_hash, blob = update.content_hash or "", None
    if update.content is not None:
        content = _content(update)
        blob = pack_blob(content)
        if content_hash and content_hash != blob.hash:
            raise Problem(400, f"The content of {path!r} has the SHA-256 {blob.hash}, not {content_hash}.")
        content_hash = blob.hash
        if update.kind == "symlink":
            try:
                check_symlink(path, content.decode())
            except (PathError, UnicodeDecodeError) as error:
                raise Problem(400, str(error)) from None
    elif not content_hash:
        raise Problem(400, f"The change of {path!r} has neither content nor content_hash; send one.")
    executable = update.executable and update.kind == "file"
    return Change(update.operation, path, update.kind, executable, content_hash, blob, update.expected_hash)


def _content(update: m.Update) -> bytes:
    text = update.content or ""
    try:
        content = base64.b64decode(text, validate=True) if update.encoding == "base64" else text.encode()
    except (binascii.Error, ValueError) as error:
        raise Problem(
            400, f"The content of {update.file_path!r} is not {update.encoding}: {error}."
        ) from None
    if len(content) > MAX_BLOB_BYTES:
        raise Problem(
            413, f"{update.file_path!r} has {len(content)} bytes; at most {MAX_BLOB_BYTES} are allowed."
        )
    return content


async def tree(bridge: Bridge, call: Call) -> Reply:
    """The whole tree, or what is under a prefix, now or at a past moment."""
    q: m.TreeQuery = call.query
    prefix = _tree_path(q.prefix.rstrip("/")) if q.prefix else ""
    if q.at is not None and q.sequence is not None:
        raise Problem(400, "The query names both 'at' and 'sequence'; send one.")
    sequence, at = q.sequence, None
    if q.at is not None:
        at, sequence = await _moment(bridge, q.at)
    elif sequence is not None and sequence > bridge.database.last_sequence:
        raise Problem(
            400,
            f"The sequence {sequence} is not reached yet; the store is at {bridge.database.last_sequence}.",
        )
    as_msgpack = call.accepts(MSGPACK)

    def work(connection: Connection) -> bytes:
        reached, files = read_tree(connection, sequence, prefix)
        answer = m.TreeAnswer(reached, None if at is None else iso(at), files)
        return msgspec.msgpack.encode(answer) if as_msgpack else msgspec.json.encode(answer)

    return Reply(await bridge.database.read(work, snapshot=True), media_type=MSGPACK if as_msgpack else JSON)


async def read(bridge: Bridge, call: Call) -> Reply:
    """A file's bytes, now or at a past moment; of a symlink, its target."""
    path = _tree_path(call.parameters["path"])
    at: str | None = call.query.at
    sequence = None if at is None else (await _moment(bridge, at))[1]
    found = await bridge.database.read(lambda connection: read_file(connection, path, sequence))
    if found is None:
        when = f" at {at}" if at else ""
        raise Problem(404, f"{path!r} is not in the tree{when}.")
    kind, content, content_hash = found
    return _tagged(call, content, content_hash, BYTES, (("X-Lighthouse-Kind", kind),))


async def history(bridge: Bridge, call: Call) -> Reply:
    """Every version of a file."""
    path = _tree_path(call.parameters["path"])
    versions = await bridge.database.read(lambda connection: read_history(connection, path))
    if not versions:
        raise Problem(404, f"{path!r} was never in the tree.")
    return reply(m.HistoryAnswer(path, [m.FileVersion(**version) for version in versions]))


async def search(bridge: Bridge, call: Call) -> Reply:
    """Lines of the tree's text files that match a regular expression."""
    body: m.SearchRequest = call.body
    if "\0" in body.pattern:
        raise Problem(400, "The pattern contains a NUL character.")
    return reply(await search_tree(bridge, body))


async def annotate(bridge: Bridge, call: Call) -> Reply:
    """Attach a note to a line."""
    body: m.AnnotateRequest = call.body
    call.require_agent(body.expert_id)
    path = _tree_path(body.file_path)
    if "\0" in body.annotation:
        raise Problem(400, "The annotation contains a NUL character.")
    annotation_id = secrets.token_hex(16)
    sequence = await bridge.database.write(
        lambda t: annotate_file(t, annotation_id, path, body.line, body.annotation, body.expert_id)
    )
    return reply(m.AnnotateAnswer(True, annotation_id, sequence))


async def document(bridge: Bridge, call: Call) -> Reply:
    """A file with its annotations."""
    path = _tree_path(call.parameters["path"])

    def work(connection: Connection) -> bytes | None:
        built = build_document(connection, path)
        return None if built is None else msgspec.json.encode(built)

    body = await bridge.database.read(work, snapshot=True)
    if body is None:
        raise Problem(404, f"{path!r} is not in the tree.")
    return _tagged(call, body, hashlib.sha256(body).hexdigest(), JSON)


def _tagged(
    call: Call, body: bytes, tag: str, media_type: str, headers: tuple[tuple[str, str], ...] = ()
) -> Reply:
    etag = f'"{tag}"'
    all_headers = (("ETag", etag), *headers)
    if etag in {part.strip() for part in call.header("if-none-match").split(",")}:
        return Reply(b"", status=304, headers=all_headers)
    return Reply(body, media_type=media_type, headers=all_headers)


def _tree_path(path: str) -> str:
    try:
        return check_path(path)
    except PathError as error:
        raise Problem(400, str(error)) from None


async def _moment(bridge: Bridge, text: str) -> tuple[int, int]:
    at = read_time("at", text)
    now = now_us()
    if at > now:
        raise Problem(400, f"at is {text!r}, which is in the future; the bridge's time is {iso(now)}.")
    if at > now - _RECENT_US:
        # A commit under way may still bear an earlier timestamp: wait for it, so the answer stays true.
        committed = await bridge.database.write(lambda transaction: transaction.now_us)
        if at > committed:
            raise Problem(
                400, f"at is {text!r}, which is in the future; the store's time is {iso(committed)}."
            )
    return at, await bridge.database.read(lambda connection: sequence_at(connection, at))


ROUTES = (
    Route(
        method="POST",
        path="/shadow/update",
        handle=update,
        role=Role.BUILDER,
        body=(m.UpdateRequest,),
        summary="Change one file",
        answers={200: m.UpdateAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="POST",
        path="/shadow/updates",
        handle=updates,
        role=Role.BUILDER,
        body=(m.UpdatesRequest,),
        body_limit=10 * MIB,
        summary="Change many files, all or none",
        answers={200: m.UpdatesAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="GET",
        path="/shadow/tree",
        handle=tree,
        counted=False,
        role=Role.EXPERT,
        query=m.TreeQuery,
        media_types=(JSON, MSGPACK),
        summary="The tree, now or at a past moment",
        answers={200: m.TreeAnswer},
        errors=frozenset({400}),
    ),
    Route(
        method="GET",
        path="/shadow/read/{path:path}",
        handle=read,
        counted=False,
        role=Role.EXPERT,
        query=m.ReadQuery,
        media_types=(BYTES,),
        summary="A file's bytes",
        answers={200: None, 304: None},
        errors=frozenset({404}),
    ),
    Route(
        method="GET",
        path="/shadow/history/{path:path}",
        handle=history,
        counted=False,
        role=Role.EXPERT,
        summary="A file's versions",
        answers={200: m.HistoryAnswer},
        errors=frozenset({404}),
    ),
    Route(
        method="POST",
        path="/shadow/search",
        handle=search,
        role=Role.EXPERT,
        body=(m.SearchRequest,),
        summary="Search the tree's text",
        answers={200: m.SearchAnswer},
        errors=frozenset({429}),
    ),
    Route(
        method="POST",
        path="/shadow/annotate",
        handle=annotate,
        role=Role.EXPERT,
        body=(m.AnnotateRequest,),
        summary="Attach a note to a line",
        answers={200: m.AnnotateAnswer},
        errors=frozenset({403, 404}),
    ),
    Route(
        method="GET",
        path="/shadow/document/{path:path}",
        handle=document,
        counted=False,
        role=Role.EXPERT,
        summary="A file with its annotations",
        answers={200: m.DocumentAnswer, 304: None},
        errors=frozenset({404}),
    ),
)
