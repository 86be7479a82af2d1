"""A real kube-apiserver with its etcd and nothing else: the second opinion on every verdict.

It listens on loopback, keeps its data in a temporary folder and is stopped by `close`. No node, controller or
scheduler runs, so objects are stored, never acted on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from .documents import thaw
from .render import ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .model import Object

_START_SECONDS: Final = 90
_REQUEST_SECONDS: Final = 20
_IDLE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said to one request."""

    status: int
    message: str
    warnings: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.status < http.client.MULTIPLE_CHOICES


def find_program(name: str) -> Path:
    """`etcd` or `kube-apiserver`: from `ETCD` or `KUBE_APISERVER`, else built by this project, else on the PATH.

    Raises `ToolError` when it is nowhere.
    """
    variable = name.upper().replace("-", "_")
    named = os.environ.get(variable)
    cache = Path(os.environ.get("LIGHTHOUSE_CACHE") or Path.home() / ".cache" / "lighthouse")
    built = sorted(cache.glob(f"tools/*/*/{name}"), key=lambda path: path.stat().st_mtime)
    found = named or (built[-1] if built else shutil.which(name))
    if not found:
        raise ToolError(f"{name} is missing; set {variable} to its path, or run make test, which builds it.")
    return Path(found)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ApiServer:
    """etcd and kube-apiserver, started together. Use it as a context manager."""

    def __init__(self, etcd: Path, kube_apiserver: Path, flags: Sequence[str] = ()) -> None:
        """`flags` are added to kube-apiserver's own."""
        self._programs = etcd, kube_apiserver
        self._flags = tuple(flags)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="lighthouse-api-server-"))
        self._token = secrets.token_urlsafe(24)
        self._port = _free_port()
        self._plurals: dict[str, dict[str, tuple[str, bool]]] = {}
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop both programs and remove their data."""
        if self._connection is not None:
            self._connection.close()
        for process in reversed(self._processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        client, peer = _free_port(), _free_port()
        self._run(
            self._programs[0],
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        key = self._folder / "account.key"
        key.write_bytes(
            rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{self._token},tester,tester,system:masters\n", encoding="utf-8")
        self._run(
            self._programs[1],
            f"--etcd-servers=http://127.0.0.1:{client}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self._folder / 'certs'}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--service-account-issuer=https://lighthouse.invalid",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
            *self._flags,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise ToolError(f"kube-apiserver is not ready after {_START_SECONDS} s: {self._last_words()}")
            time.sleep(0.2)

    def _run(self, program: Path, *flags: str) -> None:
        with (self._folder / f"{program.name}.log").open("wb") as log:
            command = [str(program), *flags]
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder))

    def _last_words(self) -> str:
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self._folder.glob("*.log")]
        return " ".join(line for text in texts for line in text.splitlines()[-2:])

    def _ready(self) -> bool:
        try:
            return self.request("GET", "/readyz").status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    def request(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, kind: str = "json"
    ) -> Answer:
        """One request; `kind` ends the content type, such as `apply-patch+yaml`."""
        if self._connection is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = (
                ssl.CERT_NONE
            )  # our own server on loopback, with a certificate of its own making
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, timeout=_REQUEST_SECONDS, context=context
            )
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": f"application/{kind}"}
        try:
            # Left alone for minutes, the connection is closed by the server.
            if self._used and time.monotonic() - self._used > _IDLE_SECONDS:
                self._connection.close()
            self._used = time.monotonic()
            self._connection.request(method, path, None if body is None else json.dumps(thaw(body)), headers)
            response = self._connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise
        warnings = tuple(value for name, value in response.getheaders() if name.lower() == "warning")
        return Answer(response.status, text, warnings)

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool] | None:
        if api_version not in self._plurals:
            base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            answer = self.request("GET", base)
            listed = json.loads(answer.message).get("resources", []) if answer.accepted else []
            self._plurals[api_version] = {
                item["kind"]: (item["name"], item["namespaced"]) for item in listed if "/" not in item["name"]
            }
        return self._plurals[api_version].get(kind)

    def _path(self, item: Object) -> str | None:
        resource = self._resource(item.api_version, item.kind)
        if resource is None:
            return None
        base = "api" if "/" not in item.api_version else "apis"
        place = f"/namespaces/{quote(item.namespace)}" if resource[1] else ""
        return f"/{base}/{item.api_version}{place}/{resource[0]}"

    def apply(self, item: Object, *, dry_run: bool = True) -> Answer:
        """Server-side apply with strict field validation; 404 when the kind is not served."""
        path = self._path(item)
        if path is None:
            return Answer(http.client.NOT_FOUND, f"{item.api_version} {item.kind} is not served")
        options = {"fieldManager": "lighthouse", "fieldValidation": "Strict", "force": "true"}
        options |= {"dryRun": "All"} if dry_run else {}
        url = f"{path}/{quote(item.name)}?{urlencode(options)}"
        return self.request("PATCH", url, item.document, "apply-patch+yaml")

    def create(self, item: Object) -> Answer:
        """A dry-run create with strict field validation."""
        path = self._path(item)
        if path is None:
            return Answer(http.client.NOT_FOUND, f"{item.api_version} {item.kind} is not served")
        return self.request("POST", f"{path}?dryRun=All&fieldValidation=Strict", item.document)

    def add_crds(self, crds: Iterable[Object]) -> None:
        """Install CustomResourceDefinitions and wait until their kinds are served.

        Raises `ToolError` when one is refused or not served in time.
        """
        for crd in crds:
            answer = self.apply(crd, dry_run=False)
            if not answer.accepted:
                raise ToolError(f"{crd.ref} was refused: {answer.message}")
            deadline = time.monotonic() + _START_SECONDS
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{quote(crd.name)}"
            while '"type":"Established","status":"True"' not in self._conditions(path):
                if time.monotonic() > deadline:
                    raise ToolError(f"{crd.ref} is not served after {_START_SECONDS} s.")
                time.sleep(0.05)
        self._plurals.clear()

    def _conditions(self, path: str) -> str:
        status = json.loads(self.request("GET", path).message).get("status", {})
        pairs = [{"type": item["type"], "status": item["status"]} for item in status.get("conditions") or []]
        return json.dumps(pairs, separators=(",", ":"))

    def add_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a namespace with these labels. Raises `ToolError` when the server refuses."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
        answer = self.request("POST", "/api/v1/namespaces", body)
        if not answer.accepted:
            raise ToolError(f"The namespace {name} was refused: {answer.message}")
