"""Typed client of the bridge's HTTP API."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec
import urllib3

from lighthouse_agent.answers import (
    BatchResult,
    Completed,
    Heartbeat,
    Recorded,
    Registration,
    Session,
    Tree,
    Verdict,
    WorkAnswer,
    WorkItem,
)
from lighthouse_agent.bridge_pool import BridgePool, TlsFilesError
from lighthouse_agent.errors import (
    BridgeMalformedError,
    BridgeRefusedError,
    BridgeUnreachableError,
    KeyFileError,
    one_line,
)
from lighthouse_agent.settings import BridgeSettings
from lighthouse_agent.tokens import MemoryTokens, Tokens

_Answer = TypeVar("_Answer")
Body = bytes | Callable[[], BinaryIO]

MAX_KEY_BYTES = 4096
_MIB = 1024 * 1024
_MAX_ANSWER = 4 * _MIB
_MAX_TREE = 512 * _MIB
_READ_CHUNK = 64 * 1024


def read_join_key(path: Path) -> str:
    """The join key in `path`, without surrounding white space; raises KeyFileError."""
    way_out = "mount this agent's join key there or set LIGHTHOUSE_KEY_FILE."
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise KeyFileError(f"Join key file {path} cannot be read ({error.strerror}); {way_out}") from None
    key = raw.strip().decode("ascii", "replace")
    if not key or len(raw) > MAX_KEY_BYTES or not all("!" <= c <= "~" for c in key):
        raise KeyFileError(f"Join key file {path} does not hold one printable ASCII key; {way_out}")
    return key


class BridgeClient:
    """One agent's view of the bridge; use it from one thread at a time.

    Opens a session at the first call that needs one, and a new one once when the bridge answers 401.
    `timeout`, in seconds, bounds each wait for the bridge and the reading of an answer. Calls raise
    KeyFileError or a BridgeError. `headers` go with every request. Redirects are not followed: a token goes to
    one host only.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        *,
        timeout: float = 10.0,
        tokens: Tokens | None = None,
        observe: Callable[[str, float], None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._settings = settings
        self._timeout = timeout
        self._tokens = tokens if tokens is not None else MemoryTokens()
        self._observe = observe
        self._headers = dict(headers or {})
        self._pool = BridgePool(settings.tls_dir, retries=False)
        self._secrets: tuple[str, ...] = ()

    @property
    def token(self) -> str | None:
        """The session token in use; it changes whenever a new session was opened."""
        return self._tokens.current()

    def close(self) -> None:
        """Close the connections; the session stays."""
        self._pool.clear()

    @property
    def agent_id(self) -> str:
        """As whom this client speaks."""
        return self._settings.agent_id

    def validate(
        self, tool_name: str, tool_input: dict[str, Any], *, wait_seconds: float | None = None
    ) -> Verdict:
        """Ask whether a tool call may run; `wait_seconds` is for experts and people, by default the bridge's."""
        body = {
            "tool_name": tool_name,
            "tool_input": tool_input,
            "agent_id": self._settings.agent_id,
            "wait_seconds": wait_seconds,
        }
        return self.call("POST", "/validate", Verdict, body=msgspec.json.encode(body))

    def register_expert(self, agent_type: str, capabilities: tuple[str, ...]) -> Registration:
        """Register this agent as an expert; registering again is harmless."""
        body = {
            "agent_id": self._settings.agent_id,
            "agent_type": agent_type,
            "capabilities": capabilities,
        }
        return self.call("POST", "/expert/register", Registration, body=msgspec.json.encode(body))

    def heartbeat(self) -> Heartbeat:
        """Tell the bridge that this expert lives; BridgeRefusedError 404 means it is not registered."""
        body = msgspec.json.encode({"agent_id": self._settings.agent_id})
        return self.call("POST", "/expert/heartbeat", Heartbeat, body=body)

    def fetch_work(self, wait: float) -> WorkItem | None:
        """This expert's next work, waited for up to `wait` seconds; less than the client's timeout."""
        return self.call("GET", f"/expert/work?wait={wait:g}", WorkAnswer).work

    def answer_work(self, work_id: str, decision: str, confidence: float, reasoning: str) -> str:
        """Answer a validation; `recorded`, or `late` when it does not count any more."""
        body = {
            "work_id": work_id,
            "decision": decision,
            "confidence": confidence,
            "reasoning": reasoning,
        }
        return self.call("POST", "/expert/answer", Recorded, body=msgspec.json.encode(body)).status

    def complete_work(self, work_id: str, status: str, result: str) -> None:
        """End a delegation or task, as completed or failed."""
        body = {"work_id": work_id, "status": status, "result": result}
        self.call("POST", "/expert/complete", Completed, body=msgspec.json.encode(body))

    def end_session(self) -> None:
        """End the session if there is one; never opens one to do so."""
        token = self._tokens.current()
        if token is None:
            return
        self._tokens.forget()
        self._send("POST", "/session/end", body=b"{}", secret=token, limit=_MAX_ANSWER)

    def tree(self) -> Tree:
        """The bridge's present tree."""
        return self.call("GET", "/shadow/tree", Tree, accept="application/msgpack", limit=_MAX_TREE)

    def put_blob(self, sha256: str, content: Callable[[], BinaryIO]) -> None:
        """Upload content by its hash, streamed; `content` opens it, once for each attempt."""
        path = f"/shadow/blobs/{sha256}"
        self._authorized("PUT", path, content, "application/json", _MAX_ANSWER, "application/octet-stream")

    def send_updates(self, body: bytes) -> BatchResult:
        """Apply one batch, an encoded body of POST /shadow/updates, wholly or not at all."""
        return self.call("POST", "/shadow/updates", BatchResult, body=body)

    def ready(self) -> None:
        """Return when the bridge takes work; raises BridgeRefusedError with its reason when it does not."""
        self._check(self._send("GET", "/ready", body=None, secret=None, limit=_MAX_ANSWER))

    def public(self, path: str, kind: type[_Answer]) -> _Answer:
        """A GET that needs no session, decoded as `kind`."""
        raw = self._check(self._send("GET", path, body=None, secret=None, limit=_MAX_ANSWER))
        return self._decode(f"GET {path}", raw, kind, "application/json")

    def call(
        self,
        method: str,
        path: str,
        kind: type[_Answer],
        *,
        body: bytes | None = None,
        accept: str = "application/json",
        limit: int = _MAX_ANSWER,
    ) -> _Answer:
        """One authorized exchange, decoded as `kind`; the answer is at most `limit` bytes."""
        raw = self._authorized(method, path, body, accept, limit, "application/json")
        return self._decode(f"{method} {path}", raw, kind, accept)

    def lines(self, path: str, kind: type[_Answer], *, silence: float) -> Iterator[tuple[bytes, _Answer]]:
        """The lines of a GET whose answer goes on, as they come and decoded as `kind`, until the bridge ends it.

        A bridge that says nothing for `silence` seconds is unreachable.
        """
        token = self._tokens.current() or self._open_session(None)
        response = self._begin(path, token, silence)
        if response.status == 401:
            response.close()
            response = self._begin(path, self._open_session(token), silence)
        with response:
            try:
                if response.status != 200:
                    self._check((response.status, self._read(response, "GET", path, _MAX_ANSWER)))
                rest = b""
                while chunk := response.read1(_READ_CHUNK, decode_content=False):
                    *whole, rest = (rest + chunk).split(b"\n")
                    if len(rest) > _MAX_ANSWER:
                        raise self._malformed(f"GET {path}", f"a line of more than {_MAX_ANSWER} bytes")
                    for line in whole:
                        yield line, self._decode(f"GET {path}", line, kind, "application/json")
            except urllib3.exceptions.HTTPError as error:
                raise self._unreachable("GET", path, _cause(error)) from None
            finally:
                # What is under way would be taken for the answer of the next request.
                response.close()

    def _begin(self, path: str, secret: str, silence: float) -> urllib3.BaseHTTPResponse:
        self._secrets = (secret, *self._secrets[:3])
        try:
            return self._pool.request(
                "GET",
                self._settings.url + path,
                headers={
                    **self._headers,
                    "User-Agent": "lighthouse-agent",
                    "Authorization": f"Bearer {secret}",
                },
                preload_content=False,
                decode_content=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(self._timeout, 5.0), read=silence),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable("GET", path, _cause(error)) from None

    def _authorized(
        self, method: str, path: str, body: Body | None, accept: str, limit: int, content_type: str
    ) -> bytes:
        token = self._tokens.current() or self._open_session(None)
        kinds = {"accept": accept, "content_type": content_type}
        status, raw = self._send(method, path, body=body, secret=token, limit=limit, **kinds)
        if status == 401:
            token = self._open_session(token)
            status, raw = self._send(method, path, body=body, secret=token, limit=limit, **kinds)
        return self._check((status, raw))

    def _open_session(self, rejected: str | None) -> str:
        """A token other than `rejected`: the one another process has just stored, or a new session's."""
        with self._tokens.exclusive():
            stored = self._tokens.current()
            if stored is not None and stored != rejected:
                return stored
            self._tokens.forget()
            key = read_join_key(self._settings.key_file)
            body = msgspec.json.encode({"agent_id": self._settings.agent_id})
            answer = self._send("POST", "/session/create", body=body, secret=key, limit=_MAX_ANSWER)
            if answer[0] in {401, 403}:
                raise BridgeRefusedError(
                    f"Bridge {self._settings.url} refused the join key in {self._settings.key_file} "
                    f"({answer[0]}: {self._detail(answer[1])}); mount the key of this agent's role.",
                    status=answer[0],
                    detail=self._detail(answer[1]),
                )
            raw = self._check(answer)
            session = self._decode("POST /session/create", raw, Session, "application/json")
            token = session.session_token
            if not token or not all("!" <= c <= "~" for c in token):
                raise self._malformed("POST /session/create", "a token that no header can carry")
            if session.agent_id != self._settings.agent_id:
                raise self._malformed("POST /session/create", "another agent's session")
            self._tokens.keep(token)
            return token

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Body | None,
        secret: str | None,
        limit: int,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        """One exchange: status and the whole body, bounded in time and size."""
        headers = {**self._headers, "Accept": accept, "User-Agent": "lighthouse-agent"}
        if body is not None:
            headers["Content-Type"] = content_type
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
            self._secrets = (secret, *self._secrets[:3])
        started = time.monotonic()
        try:
            with (
                contextlib.nullcontext(body) if body is None or isinstance(body, bytes) else body() as content
            ):
                if content is not None and not isinstance(content, bytes):
                    headers["Content-Length"] = str(content.seek(0, os.SEEK_END))
                    content.seek(0)
                return self._exchange(method, path, content, headers, limit)
        except (urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise self._unreachable(method, path, _cause(error)) from None
        finally:
            if self._observe is not None:
                self._observe(
                    f"{method} /{path.partition('?')[0].split('/', 2)[1]}", time.monotonic() - started
                )

    def _exchange(
        self, method: str, path: str, content: bytes | BinaryIO | None, headers: dict[str, str], limit: int
    ) -> tuple[int, bytes]:
        with self._pool.request(
            method,
            self._settings.url + path,
            body=content,
            headers=headers,
            preload_content=False,
            decode_content=False,
            redirect=False,
            timeout=urllib3.Timeout(connect=min(self._timeout, 5.0), read=self._timeout),
        ) as response:
            raw = self._read(response, method, path, limit)
            response.release_conn()
            return response.status, raw

    def _read(self, response: urllib3.BaseHTTPResponse, method: str, path: str, limit: int) -> bytes:
        deadline = time.monotonic() + self._timeout
        chunks: list[bytes] = []
        size = 0
        # read1 returns what is there, so that an answer dripping byte by byte meets the deadline too.
        while chunk := response.read1(_READ_CHUNK, decode_content=False):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                raise self._malformed(f"{method} {path}", f"more than {limit} bytes")
            if time.monotonic() > deadline:
                raise self._unreachable(method, path, "no whole answer in time")
        return b"".join(chunks)

    def _unreachable(self, method: str, path: str, why: str) -> BridgeUnreachableError:
        return BridgeUnreachableError(
            f"Bridge {self._settings.url} did not answer {method} {path} ({why}); check that it runs and "
            "that LIGHTHOUSE_BRIDGE_URL is its address."
        )

    def _malformed(self, call: str, what: str) -> BridgeMalformedError:
        return BridgeMalformedError(
            f"Bridge {self._settings.url} answered {call} with {what}; check that this address is a "
            "Lighthouse bridge of this version."
        )

    def _check(self, answer: tuple[int, bytes]) -> bytes:
        status, raw = answer
        if 200 <= status < 300:
            return raw
        detail = self._detail(raw)
        sentence = f"Bridge {self._settings.url} answered {status}: {detail}"
        raise BridgeRefusedError(sentence, status=status, detail=detail)

    def _detail(self, raw: bytes) -> str:
        try:
            detail = msgspec.json.decode(raw, type=dict[str, Any]).get("detail")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            detail = None
        text = detail if isinstance(detail, str) and detail else "no reason given"
        return one_line(text, hide=self._secrets)

    def _decode(self, call: str, raw: bytes, kind: type[_Answer], accept: str) -> _Answer:
        decode = msgspec.msgpack.decode if accept == "application/msgpack" else msgspec.json.decode
        try:
            return decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            why = one_line(str(error), hide=self._secrets)
            raise self._malformed(call, f"something else than promised ({why})") from None


def _cause(error: Exception) -> str:
    for kind, cause in _CAUSES.items():
        if isinstance(error, kind):
            return cause
    if isinstance(error, TlsFilesError):
        return str(error)
    # "… object at 0x7f…: Failed to establish a new connection: [Errno 111] Connection refused"
    return one_line(str(error).rpartition("] ")[2] or type(error).__name__)


_CAUSES: dict[type[Exception], str] = {
    urllib3.exceptions.NameResolutionError: "its name cannot be resolved",
    urllib3.exceptions.ReadTimeoutError: "no answer in time",
    urllib3.exceptions.ProtocolError: "the connection was closed before the answer was complete",
}
