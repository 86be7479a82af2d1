"""The bridge's HTTP API as this file system uses it. Every call ends within a time limit."""

from __future__ import annotations

import errno
import socket
import time
from threading import Lock
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import msgspec
import structlog
import urllib3

from lighthouse_agent.bridge_pool import BridgePool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lighthouse_fuse_csi.fuse_metrics import Metrics
    from lighthouse_fuse_csi.settings import SidecarSettings

_log = structlog.get_logger()
Model = TypeVar("Model")
MSGPACK = "application/msgpack"
_CHUNK = 1 << 16
_SILENCE_SECONDS = 15.0
# For what may be large: the tree, a file of 100 MiB.
_LONG_SECONDS = 30.0
# After this many failures in a row, calls fail at once for a while: a queue of doomed waits would be a hang.
_FAILURES, _REST_SECONDS = 3, 1.0
_RETRIED = frozenset({429, 500, 502, 503, 504})

# path, kind, executable, size, sha256, mtime in microseconds
Entry = tuple[str, str, bool, int, str, int]


class BridgeError(OSError):
    """The bridge did not give what was asked; the errno is what a reader of the mount gets."""


class Manifest(msgspec.Struct):
    """All files of the project at one moment."""

    sequence: int
    files: list[Entry]


class Package(msgspec.Struct):
    """A context package, as listed."""

    id: str
    sequence: int = 0
    created_at: str = ""


class Packages(msgspec.Struct):
    """The list of context packages."""

    packages: list[Package]


class _Session(msgspec.Struct):
    session_token: str


class Bridge:
    """A client with one session, safe for use by many threads."""

    def __init__(self, settings: SidecarSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._pool = BridgePool(settings.tls, num_pools=2, maxsize=16, retries=False)
        self._token = ""
        self._token_lock = Lock()
        self._failures = 0
        self._rest_until = 0.0

    @property
    def available(self) -> bool:
        """Whether calls are tried at present."""
        return self._failures < _FAILURES

    def manifest(self, at: str = "") -> Manifest:
        """The whole tree, now or at an ISO time; raises BridgeError."""
        query = f"?at={quote(at)}" if at else ""
        body = self._call("GET", f"/shadow/tree{query}", "tree", accept=MSGPACK, patience=_LONG_SECONDS)
        return self._decode(body, Manifest, "tree")

    def blobs(self, digests: list[str]) -> dict[str, bytes]:
        """Contents by hash, as many as the bridge gives in one answer; raises BridgeError."""
        payload = msgspec.json.encode({"hashes": digests})
        body = self._call(
            "POST", "/shadow/blobs/fetch", "blobs", payload=payload, accept=MSGPACK, seconds=_LONG_SECONDS
        )
        try:
            return msgspec.msgpack.decode(body, type=dict[str, bytes])
        except msgspec.DecodeError as error:
            raise self._failure("blobs", f"the answer is unreadable: {error}") from error

    def blob(self, digest: str) -> bytes:
        """One content; raises BridgeError."""
        return self._call("GET", f"/shadow/blobs/{digest}", "blob", seconds=_LONG_SECONDS)

    def document(self, path: str) -> bytes:
        """The JSON document about a file; raises BridgeError."""
        return self._call("GET", f"/shadow/document/{quote(path)}", "document")

    def packages(self) -> list[Package]:
        """The context packages; raises BridgeError."""
        return self._decode(self._call("GET", "/context", "context"), Packages, "context").packages

    def package(self, name: str, part: str) -> bytes:
        """One of a context package's documents; raises BridgeError."""
        body = self._call("GET", f"/context/{quote(name, safe='')}", "package")
        raw = self._decode(body, dict[str, msgspec.Raw], "package").get(part)
        if raw is None:
            raise self._failure("package", f"context package {name} has no {part}")
        return bytes(raw) + b"\n"

    def fetch(self, source: str) -> bytes:
        """The document of a source, `document:<path>` or `package:<id>/<part>`; raises BridgeError."""
        kind, _, name = source.partition(":")
        if kind == "document":
            return self.document(name)
        package, _, part = name.rpartition("/")
        return self.package(package, part)

    def events(self, after: int) -> Iterator[bytes]:
        """Chunks of the event stream, without end; raises BridgeError when it breaks or falls silent."""
        response = None
        try:
            response = self._open("GET", f"/events/stream?after={after}", None, "", _SILENCE_SECONDS)
            if response.status != 200:
                if response.status == 401:
                    self._token = ""
                raise self._failure("events", f"it answered {response.status}")
            while chunk := response.read1(_CHUNK):
                yield chunk
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._failure("events", str(error)) from error
        finally:
            if response is not None:
                response.close()

    def _decode(self, body: bytes, model: type[Model], route: str) -> Model:
        try:
            if body[:1] in b"{[":
                return msgspec.json.decode(body, type=model)
            return msgspec.msgpack.decode(body, type=model)
        except msgspec.DecodeError as error:
            raise self._failure(route, f"the answer is unreadable: {error}") from error

    @staticmethod
    def _failure(route: str, why: str) -> BridgeError:
        return BridgeError(errno.EIO, f"The bridge failed at {route}: {why}")

    def _call(
        self,
        method: str,
        path: str,
        route: str,
        *,
        payload: bytes | None = None,
        accept: str = "",
        seconds: float = 0,
        patience: float = 0,
    ) -> bytes:
        """Ask, and ask again on passing faults, for `seconds` in all and `patience` seconds of silence."""
        if time.monotonic() < self._rest_until:
            raise self._failure(route, "it failed before and is left alone for a second")
        patience = patience or self._settings.bridge_seconds
        deadline = time.monotonic() + max(seconds, patience)
        # A silent bridge is not asked twice: its silence has used the reader's time up.
        last_start = time.monotonic() + patience
        pause, why = 0.05, ""
        for _ in range(4):
            started = time.perf_counter_ns()
            try:
                status, body = self._once(method, path, payload, accept, patience, deadline)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                status, body, why = 0, b"", str(error) or type(error).__name__
            self._metrics.bridge[(route, str(status or "error"))].add(time.perf_counter_ns() - started)
            if status == 200:
                self._failures = 0
                return body
            if status == 404:
                self._failures = 0
                raise BridgeError(errno.ENOENT, f"The bridge does not know {path}.")
            if status == 401:
                self._token = ""
            elif status and status not in _RETRIED:
                self._failures = 0
                raise self._failure(route, f"it answered {status} to {path}")
            why = f"it answered {status}" if status else why
            if time.monotonic() + pause >= last_start:
                break
            time.sleep(pause)
            pause *= 2
        self._failures += 1
        if self._failures >= _FAILURES:
            self._rest_until = time.monotonic() + _REST_SECONDS
        raise self._failure(route, why)

    def _once(
        self, method: str, path: str, payload: bytes | None, accept: str, patience: float, deadline: float
    ) -> tuple[int, bytes]:
        silence = max(0.05, min(patience, deadline - time.monotonic()))
        response = self._open(method, path, payload, accept, silence)
        try:
            body = _read(response, deadline)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        return response.status, body

    def _open(
        self, method: str, path: str, payload: bytes | None, accept: str, seconds: float
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Authorization": f"Bearer {self._token or self._login(seconds)}"}
        if accept:
            headers["Accept"] = accept
        if payload is not None:
            headers["Content-Type"] = "application/json"
        return self._pool.request(
            method,
            self._settings.bridge_url + path,
            body=payload,
            headers=headers,
            timeout=urllib3.Timeout(connect=min(seconds, 2.0), read=seconds),
            preload_content=False,
            redirect=False,
        )

    def _login(self, seconds: float) -> str:
        """Open a session with the key on disk; the key may change, so it is read each time."""
        with self._token_lock:
            if self._token:
                return self._token
            key = self._settings.key_file.read_text().strip()
            response = self._pool.request(
                "POST",
                self._settings.bridge_url + "/session/create",
                body=msgspec.json.encode(
                    {
                        "agent_id": self._settings.agent_id,
                        "metadata": {"client": "fuse", "host": socket.gethostname()},
                    }
                ),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
                timeout=urllib3.Timeout(connect=min(seconds, 2.0), read=seconds),
                redirect=False,
            )
            if response.status != 200:
                raise OSError(errno.EIO, f"The bridge answered {response.status} to the join key.")
            try:
                self._token = msgspec.json.decode(response.data, type=_Session).session_token
            except msgspec.DecodeError as error:
                raise OSError(errno.EIO, f"The bridge's session is unreadable: {error}") from error
            return self._token


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The whole answer; a socket's timeout alone would let a trickle go on for ever."""
    parts = []
    while chunk := response.read1(_CHUNK):
        parts.append(chunk)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer took too long")
    return b"".join(parts)
