"""The load tool (ci/tools/load): requests written to a file, sent by its program, its report read."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socket import create_connection
from typing import TYPE_CHECKING, Any

from tests.bench.bridge.processes import processor_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What one run of the load tool found out, and what the server needed for it."""

    report: dict[str, Any]
    server_seconds: float

    @property
    def errors(self) -> int:
        """Requests without a right status."""
        return sum(map(int, self.report["errors"].values()))

    @property
    def server_microseconds(self) -> float:
        """The server's processor time for one request."""
        return float(1e6 * self.server_seconds / self.report["requests"])

    @property
    def generator_share(self) -> float:
        """How much of one processor the load tool used."""
        return float(self.report["processor_seconds"] / self.report["seconds"])


def write_requests(path: Path, requests: Iterable[dict[str, Any]]) -> Path:
    """Write requests as the load tool reads them."""
    with path.open("w") as file:
        for request in requests:
            file.write(json.dumps(request, separators=(",", ":")) + "\n")
    return path


@dataclass(frozen=True)
class Generator:
    """The load tool's program, kept on `processors`."""

    program: Path
    processors: str

    def attack(self, address: str, targets: Path, pid: int, **options: Any) -> Measured:
        """Send the file of requests as `options` say (rate, duration, requests, connections) to the server `pid`."""
        flags = [f"-{name}={value}" for name, value in options.items()]
        command = ["taskset", "--cpu-list", self.processors, str(self.program), f"-address={address}"]
        before = processor_seconds(pid)
        result = subprocess.run(
            [*command, f"-targets={targets}", *flags], capture_output=True, text=True, check=False
        )
        took = processor_seconds(pid) - before
        if result.returncode:
            raise SystemExit(f"The load tool failed: {result.stderr.strip()}")
        return Measured(json.loads(result.stdout), took)

    @contextmanager
    def answering(self, address: str, processors: str) -> Iterator[int]:
        """The load tool as a server that only answers; yields its process id."""
        command = ["taskset", "--cpu-list", processors, str(self.program), f"-serve={address}"]
        process = subprocess.Popen(command)
        try:
            wait_for(address)
            yield process.pid
        finally:
            process.kill()
            process.wait()


def wait_for(address: str, seconds: float = 30.0) -> None:
    """Return once something listens at host:port."""
    host, port = address.rsplit(":", 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError), create_connection((host, int(port)), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"Nothing listens at {address} after {seconds:g} s.")
