"""Real Redis servers on loopback, as the chart runs them: TLS alone, users from a file, an address each."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.keeper import Keeper
from lighthouse_redis_keeper.planner import Target
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.settings import Access, KeeperSettings
from tests.images.certificates import certificate, new_authority
from tests.images.redis_program import redis_server
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_redis_keeper.topology import View

PASSWORDS = {name: f"{name}-password" for name in ("bridge", "exporter", "keeper", "replication")}
RULES = (Path(__file__).resolve().parents[3] / "charts/lighthouse/charts/redis/files/users.acl").read_text()
NODE_TIMEOUT_MS = 1500


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Wait until it holds; returns how long that took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - begin


@dataclass(frozen=True, kw_only=True)
class LocalSettings(KeeperSettings):
    """Settings by which pods are found on loopback."""

    site: Site

    def host(self, pod: int) -> str:
        return self.site.address(pod)


@dataclass
class Site:
    """Servers that stand for the pods of a release; an address changes with each start, as a pod's does."""

    folder: Path
    size: int = 6
    places: int = 3
    clustered: bool = True
    port: int = field(default_factory=lambda: free_port(10_000))
    generation: dict[int, int] = field(default_factory=dict)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.users, self.tls = self.folder / "users", self.folder / "tls"
        for path in (self.users, self.tls):
            path.mkdir()
        for name, password in PASSWORDS.items():
            (self.users / name).write_text(password)
        self.rules = self.folder / "rules.acl"
        self.rules.write_text(RULES)
        self.authority = new_authority()
        self.renew()
        self.access = Access(users=self.users, tls=self.tls, port=self.port)

    def renew(self) -> int:
        """Write another certificate over the one that is there; returns its serial number."""
        addresses = [f"127.0.{generation}.{10 + n}" for generation in range(1, 9) for n in range(12)]
        return certificate(self.tls, addresses, self.authority)

    def address(self, pod: int) -> str:
        """Where a pod is, or was last."""
        return f"127.0.{self.generation.get(pod, 1)}.{10 + pod}"

    def keeper(self, primaries: int = 3, replicas: int = 1) -> Keeper:
        """A keeper of these pods."""
        return Keeper(self.settings(primaries, replicas))

    def settings(self, primaries: int = 3, replicas: int = 1) -> LocalSettings:
        """What a keeper of these pods is told."""
        return LocalSettings(
            access=self.access, name="redis", domain="nodes", target=Target(primaries, replicas), site=self
        )

    def start(self, *pods: int) -> None:
        """Start pods with their volumes."""
        program = redis_server()
        for pod in pods:
            data = self.folder / f"data-{pod}"
            data.mkdir(exist_ok=True)
            users = self.folder / f"users-{pod}.acl"
            users.write_text(self._users())
            options = {
                "bind": self.address(pod), "port": 0, "tls-port": self.port, "dir": data, "aclfile": users,
                "tls-cert-file": self.tls / "tls.crt", "tls-key-file": self.tls / "tls.key",
                "tls-ca-cert-file": self.tls / "ca.crt", "tls-cluster": "yes", "tls-replication": "yes",
                "tls-auth-clients": "yes", "cluster-enabled": "yes", "appendonly": "yes",
                "save": "", "shutdown-on-sigterm": "force",
                "cluster-node-timeout": NODE_TIMEOUT_MS, "cluster-announce-ip": self.address(pod),
                "cluster-announce-hostname": f"redis-{pod}.nodes", "cluster-allow-replica-migration": "no",
                "masteruser": "replication", "masterauth": self._password("replication"),
                "syslog-ident": f"machine-{pod % self.places}", "repl-diskless-sync-delay": 0,
            }  # fmt: skip
            if not self.clustered:
                options = {n: v for n, v in options.items() if not n.startswith(("cluster-", "tls-cluster"))}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            with (self.folder / f"log-{pod}").open("ab") as log:
                self.processes[pod] = subprocess.Popen([program, *words], stdout=log, stderr=log)

    def stop(self, *pods: int, number: int = signal.SIGKILL) -> None:
        """End pods."""
        for pod in pods:
            self.processes[pod].send_signal(number)
        for pod in pods:
            self.processes.pop(pod).wait(20)

    def move(self, *pods: int) -> None:
        """Let the next start of pods have another address."""
        for pod in pods:
            self.generation[pod] = self.generation.get(pod, 1) + 1

    def lose(self, pod: int) -> None:
        """Lose a stopped pod's volume."""
        shutil.rmtree(self.folder / f"data-{pod}")

    def close(self) -> None:
        """End everything."""
        self.stop(*list(self.processes))

    def ask(self, pod: int, *words: str | int) -> str:
        """A pod's answer to the keeper's user."""
        server = Server(self.address(pod), self.access)
        try:
            return server.text(*words)
        finally:
            server.close()

    def view(self, pod: int) -> View:
        """What a pod's node says."""
        server = Server(self.address(pod), self.access)
        try:
            return server.view(pod)
        finally:
            server.close()

    def answers(self, pod: int) -> bool:
        """Whether a pod's node says what it knows."""
        try:
            self.view(pod)
        except NodeError:
            return False
        return True

    def _password(self, user: str) -> str:
        return (self.users / user).read_text().splitlines()[0]

    def _users(self) -> str:
        lines = []
        for line in RULES.splitlines():
            name = line.split()[1]
            words = (self.users / name).read_text().splitlines() if name != "default" else []
            digests = " ".join(f"#{hashlib.sha256(word.encode()).hexdigest()}" for word in words)
            lines.append(f"{line} {digests}".rstrip())
        return "\n".join(lines) + "\n"


def settle(keeper: Keeper, seconds: float = 60) -> float:
    """Let a keeper work until it is done; returns how long that took."""

    def step() -> bool:
        keeper.step()
        return keeper.done

    try:
        return wait_for(step, "the cluster is as it should be", seconds)
    except AssertionError as error:
        views = keeper.situation.views.values()
        seen = [(v.ordinal, v.me.ip, sorted(v.me.flags), v.linked, v.whole) for v in views]
        raise AssertionError(f"{error}; nodes that answer: {seen}") from None
