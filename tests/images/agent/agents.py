"""Real expert agents' processes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.images.agent.support import clean_env, get, wait_for
from tests.ports import free_port

COMMAND = [sys.executable, "-m", "lighthouse_agent", "run"]


@dataclass
class Agent:
    """A running agent process."""

    process: subprocess.Popen[bytes]
    port: int
    mount: Path
    log: Path

    def ready(self) -> tuple[int, str]:
        """Status and reason of /ready."""
        status, body = get(f"http://127.0.0.1:{self.port}/ready")
        return status, body.decode()

    def wait_ready(self, status: int = 200, part: str = "") -> None:
        """Wait until /ready answers so."""

        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            found, reason = self.ready()
            return found == status and part in reason

        wait_for(f"/ready {status} {part!r}", holds)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of /metrics."""
        status, body = get(f"http://127.0.0.1:{self.port}/metrics")
        assert status == 200
        for family in text_string_to_metric_families(body.decode()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        raise AssertionError(f"{name} {labels} is not in:\n{body.decode()}")

    def events(self) -> list[dict[str, Any]]:
        """The log so far; every line must be JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self) -> float:
        """Seconds from SIGTERM to a clean end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(15) == 0, self.log.read_text()
        return time.monotonic() - started


@contextmanager
def agent(folder: Path, url: str, key_file: Path, **extra: str) -> Iterator[Agent]:
    """An agent whose mount is a plain folder that shows a project, unless LIGHTHOUSE_MOUNT says otherwise."""
    mount, port, log = folder / "mount", free_port(), folder / "agent.log"
    (mount / "current").mkdir(parents=True, exist_ok=True)
    settings = {
        "LIGHTHOUSE_BRIDGE_URL": url,
        "LIGHTHOUSE_KEY_FILE": str(key_file),
        "LIGHTHOUSE_AGENT_ID": "security-1",
        "LIGHTHOUSE_AGENT_TYPE": "security",
        "LIGHTHOUSE_AGENT_CAPABILITIES": "security_audit, code_review",
        "LIGHTHOUSE_MOUNT": str(mount),
        "LIGHTHOUSE_HEALTH_PORT": str(port),
        "LIGHTHOUSE_EXPERT_HEARTBEAT_SECONDS": "0.1",
        "LIGHTHOUSE_MOUNT_PROBE_SECONDS": "0.1",
        "LIGHTHOUSE_MOUNT_LIMIT_SECONDS": "0.3",
        **extra,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            COMMAND, env=clean_env(**settings), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Agent(process, port, Path(settings["LIGHTHOUSE_MOUNT"]), log)
    finally:
        process.kill()
        process.wait()
