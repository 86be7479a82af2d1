"""Programs as child processes, the real bridge among them, and the files they work on.

Every program is ended by its own number.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import urllib3

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REPOSITORY = Path(__file__).parents[3]
DRIVER = "fuse.csi.lighthouse.dev"
USER = 65532
AUTH_SECRET = secrets.token_hex(32)
ROLES = ("expert", "builder", "operator")
HTTP = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=30))


def eventually(check: Callable[[], Any], seconds: float = 10, what: str = "") -> Any:
    """Return the first true value of `check`; an OSError counts as false."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (OSError, urllib3.exceptions.HTTPError) as error:
            last = error
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what or check}; last was {last!r}")


def environment(folder: str, extra: Mapping[str, str]) -> dict[str, str]:
    """A bare environment in which `python -m` finds the image's package."""
    path = os.pathsep.join(str(REPOSITORY / "images" / name) for name in (folder, "agent"))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, **extra}


class Program:
    """A child process; its output goes to a file that a failed test can show."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        # Even when the tests are killed, nothing stays behind.
        guarded = ["setpriv", "--pdeathsig=KILL", *arguments]
        with log.open("ab") as output:
            self.process = subprocess.Popen(guarded, env=dict(env), stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        return self.process.wait(15)


class BridgeProgram:
    """The real bridge on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = folder / "keys"
        self.keys.mkdir(parents=True)
        for role in ROLES:
            (self.keys / role).write_text(secrets.token_hex(16))
        (folder / "auth-secret").write_text(AUTH_SECRET)
        # Nothing is decided by rules here: every command waits for review and so makes a context package.
        (folder / "rules").mkdir()
        (folder / "rules" / "none.yaml").write_text("schema: 1\n")
        self._token = ""
        self._program: Program | None = None
        self.start()

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self._program = Program(
            [sys.executable, "-m", "lighthouse_bridge"],
            environment(
                "bridge",
                {
                    "LIGHTHOUSE_HOST": "127.0.0.1",
                    "LIGHTHOUSE_PORT": str(self.port),
                    "LIGHTHOUSE_METRICS_PORT": str(free_port()),
                    "LIGHTHOUSE_EVENT_STORE_PATH": str(self.folder / "events.db"),
                    "LIGHTHOUSE_AUTH_SECRET_FILE": str(self.folder / "auth-secret"),
                    "LIGHTHOUSE_KEYS_DIR": str(self.keys),
                    "LIGHTHOUSE_RULES_DIR": str(self.folder / "rules"),
                    "LIGHTHOUSE_DRAIN_SECONDS": "1",
                },
            ),
            self.folder / "bridge.log",
        )
        try:
            eventually(
                lambda: HTTP.request("GET", f"{self.url}/ready").status == 200, 20, "the bridge is ready"
            )
        except AssertionError:
            self.stop()
            raise AssertionError((self.folder / "bridge.log").read_text()[-2000:]) from None

    def stop(self) -> None:
        if self._program is not None:
            self._program.end(signal.SIGTERM)
            self._program = None

    def call(self, method: str, path: str, body: object = None, token: str = "") -> Any:
        """Call as an operator, or with another session's token; raises AssertionError on anything but success."""
        response = HTTP.request(
            method,
            self.url + path,
            body=None if body is None else msgspec.json.encode(body),
            headers={
                "Authorization": f"Bearer {token or self.session_token()}",
                "Content-Type": "application/json",
            },
        )
        assert response.status < 300, f"{method} {path}: {response.status} {response.data!r}"
        return response.json() if response.data[:1] in (b"{", b"[") else response.data

    def session_token(self) -> str:
        """The token of the tests' own session as an operator."""
        if not self._token:
            self._token = self.session("operator", "tests")
        return self._token

    def session(self, role: str, agent: str) -> str:
        """A session token."""
        response = HTTP.request(
            "POST",
            f"{self.url}/session/create",
            body=msgspec.json.encode({"agent_id": agent}),
            headers={
                "Authorization": f"Bearer {(self.keys / role).read_text()}",
                "Content-Type": "application/json",
            },
        )
        assert response.status == 200, response.data
        return str(response.json()["session_token"])

    def write(self, path: str, content: bytes | str, operation: str = "update", **more: Any) -> Any:
        """Write one file of the project."""
        return self.call(
            "POST", "/shadow/update", {**_update(path, content, operation), "agent_id": "tests", **more}
        )

    def delete(self, path: str) -> Any:
        """Delete one file of the project."""
        return self.call(
            "POST", "/shadow/update", {"operation": "delete", "file_path": path, "agent_id": "tests"}
        )

    def upload(self, digest: str, content: bytes) -> None:
        """Store a content by its hash."""
        response = HTTP.request(
            "PUT",
            f"{self.url}/shadow/blobs/{digest}",
            body=content,
            headers={"Authorization": f"Bearer {self.session_token()}"},
        )
        assert response.status in (200, 201), response.data

    def load(self, files: Mapping[str, bytes]) -> None:
        """Write many files."""
        batch: list[dict[str, Any]] = []
        size = 0
        for path, content in files.items():
            batch.append(_update(path, content, "update"))
            size += len(content)
            if len(batch) == 1000 or size > 3 << 20:
                self.call("POST", "/shadow/updates", {"agent_id": "tests", "updates": batch})
                batch, size = [], 0
        if batch:
            self.call("POST", "/shadow/updates", {"agent_id": "tests", "updates": batch})


def _update(path: str, content: bytes | str, operation: str) -> dict[str, Any]:
    update: dict[str, Any] = {"operation": operation, "file_path": path}
    try:
        update["content"] = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError:
        assert isinstance(content, bytes)
        update.update(content=base64.b64encode(content).decode(), encoding="base64")
    return update


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="lighthouse-fuse-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sources(count: int, root: Path = Path("/usr/lib/python3.11")) -> dict[str, bytes]:
    """Real files, by their path below `root`; fewer than asked only when there are fewer."""
    files: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        if len(files) == count:
            break
        if (
            path.is_file()
            and not path.is_symlink()
            and "__pycache__" not in path.parts
            and path.stat().st_size < 2 << 20
        ):
            files[str(path.relative_to(root))] = path.read_bytes()
    return files


def digest(files: Mapping[str, bytes]) -> str:
    """One hash over names and contents."""
    total = hashlib.sha256()
    for path, content in sorted(files.items()):
        total.update(b"%s\0%d\0" % (path.encode(), len(content)) + content)
    return total.hexdigest()
