"""Real Redis servers on loopback: one, or a cluster of three primaries with a replica each."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.images.redis_program import redis_server
from tests.ports import free_port

ACL_USER = "lighthouse"
PASSWORD = "first-password"
# What docs/architecture.md says the bridge needs, and nothing else.
ACL = (
    "~lighthouse:* &lighthouse:* -@all +get +set +del +eval +time +publish +subscribe +unsubscribe "
    "+cluster|slots +command +asking +client|setname +ping"
)

# How far the port of a cluster's bus is above the port of its clients.
BUS = 10_000


class Server:
    """One Redis server in a folder of its own, with an ACL user that may do only what the bridge needs."""

    def __init__(self, folder: Path, *, cluster: bool = False, tls: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        # The bus of a cluster listens beside it.
        self.port = free_port(BUS if cluster else 0)
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.acl_file = folder / "users.acl"
        self.acl_file.write_text(
            f"user default on nopass ~* &* +@all\nuser {ACL_USER} on >{PASSWORD} {ACL}\n"
        )
        self.tls = tls
        listen = ("--port", "0", "--tls-port", str(self.port), *tls) if tls else ("--port", str(self.port))
        self.command = [
            redis_server(),
            *("--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"),
            *("--aclfile", str(self.acl_file), *listen),
            *("--repl-diskless-sync-delay", "0"),
            *(("--cluster-enabled", "yes", "--cluster-node-timeout", "1500") if cluster else ()),
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        with (self.folder / "log").open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT)
        wait_for(lambda: self.cli("ping") == "PONG", f"{self.folder.name} answers")
        return self

    def cli(self, *words: str) -> str:
        """What redis-cli prints as the default user."""
        certificates = [
            {"--tls-ca-cert-file": "--cacert"}.get(w, w.replace("tls-", "").removesuffix("-file"))
            for w in self.tls[::2]
        ]
        files = [word for pair in zip(certificates, self.tls[1::2], strict=True) for word in pair]
        tls = ["--tls", *files] if self.tls else []
        command = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.port), *tls, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self) -> None:
        if self.process is not None:
            self.signal(signal.SIGKILL)
            self.process.wait(10)
            self.process = None


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


@contextmanager
def standalone(folder: Path, *, tls: tuple[str, ...] = ()) -> Iterator[Server]:
    """One server; with options for certificates it speaks TLS alone."""
    server = Server(folder / "redis", tls=tls)
    try:
        yield server.start()
    finally:
        server.stop()


@contextmanager
def cluster(folder: Path) -> Iterator[list[Server]]:
    """Six servers that are one cluster: the first three are its primaries."""
    with ExitStack() as stack:
        servers = [Server(folder / f"redis-{n}", cluster=True) for n in range(6)]
        for server in servers:
            stack.callback(server.stop)
            server.start()
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        made = subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        wait_for(
            lambda: all("cluster_state:ok" in server.cli("cluster", "info") for server in servers),
            "the cluster is whole",
        )
        wait_for(
            lambda: (
                sum("master_link_status:up" in server.cli("info", "replication") for server in servers) == 3
            ),
            "every primary has a replica",
        )
        yield servers
