"""A real bridge process, and clients of it."""

import json
import os
import resource
import secrets
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from lighthouse_bridge.credentials import own_key
from lighthouse_bridge.signatures import sign
from tests.images.bridge.postgres import Postgres
from tests.ports import free_port

REPOSITORY = Path(__file__).parents[3]
RULES = REPOSITORY / "policies" / "rules"
ROLES = ("expert", "builder", "operator")
KEYS = {role: f"{role}-join-key-" + "k" * 32 for role in ROLES}


class Bridge:
    """A bridge in a folder of its own; it can be started, killed and started again on the same data."""

    def __init__(
        self, folder: Path, env: Mapping[str, str] | None = None, postgres: Postgres | None = None
    ) -> None:
        self.folder, self.postgres = folder, postgres
        self.port, self.metrics_port = free_port(), free_port()
        self.tls = Path(env["LIGHTHOUSE_TLS_DIR"]) if env and "LIGHTHOUSE_TLS_DIR" in env else None
        self.probe_port = free_port()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        self.store = folder / "data" / "events.db"
        self.log = folder / "log"
        (folder / "keys").mkdir(parents=True)
        for role, key in KEYS.items():
            (folder / "keys" / role).write_text(key + "\n")
        (folder / "auth-secret").write_text("s" * 48)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LIGHTHOUSE_")},
            "PYTHONPATH": str(REPOSITORY / "images" / "bridge"),
            "LIGHTHOUSE_HOST": "127.0.0.1",
            "LIGHTHOUSE_PORT": str(self.port),
            "LIGHTHOUSE_METRICS_PORT": str(self.metrics_port),
            "LIGHTHOUSE_PROBE_PORT": str(self.probe_port),
            "LIGHTHOUSE_EVENT_STORE_PATH": str(self.store),
            "LIGHTHOUSE_AUTH_SECRET_FILE": str(folder / "auth-secret"),
            "LIGHTHOUSE_KEYS_DIR": str(folder / "keys"),
            "LIGHTHOUSE_RULES_DIR": str(RULES),
            "LIGHTHOUSE_PATTERNS_FILE": str(REPOSITORY / "policies" / "patterns" / "model.json"),
            "LIGHTHOUSE_HEARTBEAT_SECONDS": "0.5",
            "LIGHTHOUSE_SEARCH_SECONDS": "1.5",
            "LIGHTHOUSE_SLOW_READER_SECONDS": "1.5",
            "LIGHTHOUSE_RULES_RELOAD_SECONDS": "0.2",
            **(postgres.settings() if postgres else {}),
            **(env or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = self.client()

    def client(self) -> httpx.Client:
        """A client of this bridge; over TLS it shows the bridge's own certificate too."""
        if self.tls is None:
            return httpx.Client(base_url=self.url, timeout=20)
        # By the files behind the link, which may lead to others before the next one is read.
        folder = (self.tls / "tls.crt").resolve().parent
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        return httpx.Client(base_url=self.url, timeout=20, verify=context)

    def start(self) -> "Bridge":
        """Start the process and wait until it answers."""
        self.launch()
        self.wait_for(lambda: self.http.get("/health").status_code == 200, 40)
        return self

    def launch(self) -> None:
        """Start the process and do not wait."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lighthouse_bridge"],
                env=self.env,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, holds: Any, seconds: float = 15.0) -> None:
        """Return once `holds` without a connection error; fail with the log when that takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):
                if holds():
                    return
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM and wait; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(20)
        self.http.close()
        self.http = self.client()
        return code

    def kill(self) -> None:
        """SIGKILL and wait."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(20)
        self.http.close()
        self.http = self.client()

    def join(self, role: str, agent_id: str | None = None, *, shared_key: bool = False) -> "Agent":
        """A session of its own; an expert joins with its own key unless it is to share the role's."""
        agent_id = agent_id or f"{role}-{secrets.randbelow(10**9)}"
        key = own_key(KEYS[role], agent_id) if role == "expert" and not shared_key else KEYS[role]
        headers = {"Authorization": f"Bearer {key}"}
        answer = self.http.post("/session/create", json={"agent_id": agent_id}, headers=headers)
        assert answer.status_code == 200, answer.text
        return Agent(self, agent_id, answer.json()["session_token"])

    def sequence(self) -> int:
        """The last sequence of the store."""
        return int(self.http.get("/status").json()["sequence"])

    def limit_file_size(self, size: int) -> None:
        """Let writes beyond `size` bytes of a file fail, as on a full disk; a negative size lifts it."""
        soft = resource.RLIM_INFINITY if size < 0 else size
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))


class Agent:
    """A client with a session."""

    def __init__(self, bridge: Bridge, agent_id: str, token: str) -> None:
        self.bridge, self.agent_id, self.token = bridge, agent_id, token
        self.headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        return self.bridge.http.get(path, headers=headers, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        headers = {**self.headers, **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        return self.bridge.http.post(path, headers=headers, **options)

    def send(self, path: str, body: Any, **signing: Any) -> httpx.Response:
        """POST a signed message; `signing` may name another nonce, unix, token, agent, signed_path or content."""
        content = json.dumps(body).encode()
        signature = sign(
            signing.get("token", self.token),
            signing.get("agent", self.agent_id),
            "POST",
            signing.get("signed_path", path),
            signing.get("content", content),
            signing.get("nonce", secrets.token_hex(16)),
            int(signing.get("unix", time.time())),
        )
        headers = {**self.headers, "Content-Type": "application/json", "X-Lighthouse-Signature": signature}
        return self.bridge.http.post(path, content=content, headers=headers)

    def update(
        self, path: str, content: str | None, operation: str = "update", **more: Any
    ) -> httpx.Response:
        body = {"operation": operation, "file_path": path, "agent_id": self.agent_id, **more}
        if content is not None:
            body["content"] = content
        return self.post("/shadow/update", body)

    def validate(self, command: str) -> dict[str, Any]:
        body = {"tool_name": "Bash", "tool_input": {"command": command}, "agent_id": self.agent_id}
        answer = self.post("/validate", body)
        assert answer.status_code == 200, answer.text
        decoded = answer.json()
        assert isinstance(decoded, dict)
        return decoded


@contextmanager
def running(bridge: Bridge) -> Iterator[Bridge]:
    """The bridge, started, and gone at the end whatever happened."""
    try:
        yield bridge.start()
    finally:
        if bridge.process is not None:
            bridge.process.kill()
            bridge.process.wait(20)
        bridge.http.close()
