"""Real processes and a small real HTTP server for the agent's tests."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.ports import free_port

REPOSITORY = Path(__file__).parents[3]
KEYS = {role: f"{role}-join-key-" + "k" * 32 for role in ("expert", "builder", "operator")}
TOKEN = "0" * 32 + ":agent-1:1700000000.0:" + "f" * 64


def clean_env(**extra: str) -> dict[str, str]:
    """An environment that reaches the packages and nothing of the machine's own Lighthouse settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTHOUSE_")}
    path = os.pathsep.join(str(REPOSITORY / "images" / name) for name in ("agent", "bridge"))
    return {**inherited, "PYTHONPATH": path, **extra}


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 15.0) -> None:
    """Return once `holds`; fail naming `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        time.sleep(0.02)


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a GET, 0 when nobody answers."""
    try:
        with urllib3.PoolManager(retries=False, timeout=5.0) as pool:
            reply = pool.request("GET", url, headers=dict(headers or {}))
            return reply.status, reply.data
    except urllib3.exceptions.HTTPError:
        return 0, b""


def post(url: str, body: Any, secret: str, timeout: float = 5.0) -> dict[str, Any]:
    """The JSON answer of a POST that must succeed."""
    with urllib3.PoolManager(retries=False, timeout=timeout) as pool:
        reply = pool.request("POST", url, json=body, headers={"Authorization": f"Bearer {secret}"})
        assert reply.status == 200, reply.data
        decoded = reply.json()
    assert isinstance(decoded, dict)
    return decoded


@contextmanager
def process(command: list[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running process that is stopped at the end; its output goes to `log`."""
    with log.open("ab") as output:
        running = subprocess.Popen(command, env=dict(env), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield running
    finally:
        running.terminate()
        try:
            running.wait(15)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@dataclass
class Bridge:
    """A real bridge: its address, its keys' files, its state."""

    folder: Path
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.port}"

    def key_file(self, role: str) -> Path:
        """File with the join key of `role`."""
        return self.folder / "keys" / role

    def prepare(self) -> None:
        """Write its keys and secret."""
        (self.folder / "keys").mkdir(parents=True)
        for role, key in KEYS.items():
            self.key_file(role).write_text(key + "\n")
        (self.folder / "auth-secret").write_text("s" * 48)

    @contextmanager
    def running(self) -> Iterator["Bridge"]:
        """Run it until the end of the block."""
        env = clean_env(
            LIGHTHOUSE_HOST="127.0.0.1",
            LIGHTHOUSE_PORT=str(self.port),
            LIGHTHOUSE_METRICS_PORT=str(self.metrics_port),
            LIGHTHOUSE_EVENT_STORE_PATH=str(self.folder / "events.db"),
            LIGHTHOUSE_AUTH_SECRET_FILE=str(self.folder / "auth-secret"),
            LIGHTHOUSE_KEYS_DIR=str(self.folder / "keys"),
            LIGHTHOUSE_RULES_DIR=str(REPOSITORY / "policies" / "rules"),
            LIGHTHOUSE_DRAIN_SECONDS="1",
            **self.extra,
        )
        log = self.folder / "bridge.log"
        with process([sys.executable, "-m", "lighthouse_bridge"], env, log) as running:
            wait_for(
                f"a ready bridge (see {log})",
                lambda: running.poll() is not None or get(self.url + "/ready")[0] == 200,
            )
            assert running.poll() is None, log.read_text()
            yield self

    def session(self, role: str, agent: str = "tester") -> str:
        """A new session's token."""
        return str(post(self.url + "/session/create", {"agent_id": agent}, KEYS[role])["session_token"])

    def ask(self, path: str, role: str = "operator") -> Any:
        """The JSON answer of a GET that must succeed."""
        headers = {"Authorization": f"Bearer {self.session(role)}", "Accept": "application/json"}
        status, body = get(self.url + path, headers)
        assert status == 200, body
        return json.loads(body)

    def read(self, path: str) -> bytes:
        """What the bridge holds at a path of the tree."""
        headers = {"Authorization": f"Bearer {self.session('operator')}"}
        status, body = get(f"{self.url}/shadow/read/{path}", headers)
        assert status == 200, body
        return body


def answer(status: int, body: Any, *, length: int | None = None) -> bytes:
    """A whole HTTP answer; `length` makes it claim another size than it has."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(raw) if length is None else length
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
        + raw
    )


SESSION_ANSWER = answer(
    200,
    {
        "session_id": "0" * 32,
        "session_token": TOKEN,
        "expires_at": "",
        "agent_id": "agent-1",
        "role": "builder",
    },
)


class RawServer:
    """A server for faults no healthy bridge shows: it sends exactly the bytes it is told to.

    `script` maps a path to the bytes of an answer, to a function that serves the connection, or to a list of
    such, used in turn and the last one for ever.
    """

    def __init__(self, script: Mapping[str, Any]) -> None:
        self._script = {
            path: list(steps) if isinstance(steps, list) else [steps] for path, steps in script.items()
        }
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def count(self, path: str) -> int:
        """How many requests asked for `path`."""
        return sum(asked == path for _method, asked, _headers in self.requests)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # A client that has heard enough goes away; that is its right.
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            while request := lines.readline().decode():
                method, path, _version = request.split()
                headers: dict[str, str] = {}
                while (line := lines.readline().decode().strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                lines.read(int(headers.get("content-length", "0")))
                with self._lock:
                    self.requests.append((method, path, headers))
                    steps = self._script.get(path, [answer(404, {"detail": "no such path"})])
                    step = steps.pop(0) if len(steps) > 1 else steps[0]
                if callable(step):
                    step(connection)
                    return
                connection.sendall(step)
