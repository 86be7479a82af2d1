"""Sends the steps of a plan to the bridge, in batches within its limits."""

import base64
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import AgentError, BridgeRefusedError, SourceError
from lighthouse_agent.plan import Change
from lighthouse_agent.source import Entry, open_file, show

MAX_UPDATES = 1000
# Half of what the bridge takes: smaller steps hold its writer for less time and show progress sooner.
MAX_BODY_BYTES = 5 * 1024 * 1024
INLINE_BYTES = 256 * 1024


class Update(msgspec.Struct, omit_defaults=True):
    """One element of POST /shadow/updates."""

    operation: str
    file_path: str
    content: str | None = None
    encoding: str = "utf-8"
    content_hash: str | None = None
    kind: str = "file"
    executable: bool = False


def send(
    client: BridgeClient,
    agent_id: str,
    root: Path,
    changes: list[Change],
    report: Callable[[int, int], None],
) -> int:
    """Send all changes of the tree at `root`; the bridge's last sequence, 0 when there was nothing to do.

    `report` gets the changes and the bytes of content sent so far. Raises an AgentError that says how far it
    came: each batch is applied wholly or not at all, and sending again continues.
    """
    done = size = sequence = 0
    try:
        for body, part in batches(agent_id, changes, lambda entry: _content(client, root, entry)):
            answer = client.send_updates(body)
            sequence = answer.last_sequence or sequence
            done += len(part)
            size += sum(change.entry.size for change in part if change.entry is not None)
            report(done, size)
    except AgentError as error:
        sentence = str(error).rstrip(".")
        raise AgentError(
            f"Loading stopped after {done} of {len(changes)} changes: {sentence}; run the same command again "
            "to go on."
        ) from None
    return sequence


def batches(
    agent_id: str, changes: list[Change], content: Callable[[Entry], bytes | None]
) -> Iterator[tuple[bytes, list[Change]]]:
    """Encoded bodies of POST /shadow/updates with the changes in each.

    `content` gives what an entry holds, or None when the bridge already has it by its hash.
    """
    head, tail = b'{"agent_id":' + msgspec.json.encode(agent_id) + b',"updates":[', b"]}"
    items: list[bytes] = []
    part: list[Change] = []
    length = len(head) + len(tail)
    for change in changes:
        item = msgspec.json.encode(_update(change, content))
        if items and (len(items) == MAX_UPDATES or length + len(item) + 1 > MAX_BODY_BYTES):
            yield head + b",".join(items) + tail, part
            items, part, length = [], [], len(head) + len(tail)
        items.append(item)
        part.append(change)
        length += len(item) + 1
    if items:
        yield head + b",".join(items) + tail, part


def _update(change: Change, content: Callable[[Entry], bytes | None]) -> Update:
    entry = change.entry
    if entry is None:
        return Update(change.operation, change.path)
    update = Update(change.operation, change.path, kind=entry.kind, executable=entry.executable)
    raw = content(entry)
    if raw is None:
        update.content_hash = entry.sha256
        return update
    try:
        update.content = raw.decode()
    except UnicodeDecodeError:
        update.content, update.encoding = base64.b64encode(raw).decode("ascii"), "base64"
    return update


def _content(client: BridgeClient, root: Path, entry: Entry) -> bytes | None:
    """The content to send inline; large content is uploaded here instead."""
    try:
        if entry.kind == "symlink":
            raw = os.fsencode((root / entry.path).readlink())
        elif entry.size <= INLINE_BYTES:
            with open_file(root, entry.path) as file:
                raw = file.read(INLINE_BYTES + 1)
        else:
            _upload(client, root, entry)
            return None
    except OSError as error:
        raise SourceError(f"{show(entry.path)} can no longer be read ({error.strerror})") from None
    if hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise _changed(entry)
    return raw


def _upload(client: BridgeClient, root: Path, entry: Entry) -> None:
    def content() -> BinaryIO:
        return open_file(root, entry.path)

    with content() as file:
        if os.fstat(file.fileno()).st_size != entry.size:
            raise _changed(entry)
    try:
        client.put_blob(entry.sha256, content)
    except BridgeRefusedError as error:
        if error.status != 400:
            raise
        # The bridge checks the hash: what was uploaded is not what was compared.
        raise _changed(entry) from None


def _changed(entry: Entry) -> SourceError:
    return SourceError(f"{show(entry.path)} changed while it was loaded")
