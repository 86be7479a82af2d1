"""What clients and the cluster itself see of an event, measured from a pod beside Redis."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.live.support import PYTHON, eventually, signal_all
from tests.production.redis.probes import LOAD, WATCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.support import Container
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

SLOTS = 16384
SECOND_OF_WRITES = 34
"""How many writes the client can have made in a second: one every 30 ms."""
Line = dict[str, Any]


class Program:
    """A program in a pod that prints lines of JSON until it is closed."""

    def __init__(self, container: Container, script: str, *arguments: str) -> None:
        self.lines: list[Line] = []
        self._process = container.start(PYTHON, "-I", "-c", script, *arguments, stdin=subprocess.PIPE)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for text in self._process.stdout:
            self.lines.append(json.loads(text))

    def since(self, moment: float) -> list[Line]:
        """What was said after a moment."""
        return [line for line in list(self.lines) if line["t"] > moment]

    def close(self) -> None:
        """Let the program end by itself."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
            self._process.stdin = None
        self._reader.join(120)
        self._process.kill()
        self._process.communicate()


@dataclass
class Event:
    """One event: when it began, and what was seen of it."""

    watch: Program
    load: Program
    began: float = field(default_factory=time.time)

    def wait_whole(self, seconds: float, at_least: float = 0) -> float:
        """Wait until the cluster is whole, not before `at_least` seconds after the event; returns how long it took."""
        while time.time() - self.began < seconds:
            fine = [line for line in self.watch.since(self.began + at_least) if line["whole"]]
            if fine and self.watch.lines[-1]["whole"]:
                return self.broken_until("whole", value=True)
            time.sleep(0.3)
        raise AssertionError(f"not whole within {seconds:g} s: {self.watch.lines[-1:]}")

    def broken_until(self, name: str, value: object) -> float:
        """Seconds from the event to the first line after the last one without this value; 0 if there was none."""
        lines = self.watch.since(self.began)
        wrong = [n for n, line in enumerate(lines) if line[name] != value]
        if not wrong:
            return 0.0
        after = lines[min(wrong[-1] + 1, len(lines) - 1)]
        return float(after["t"]) - self.began

    def incomplete(self) -> float:
        """How long, in all, not every slot was served."""
        lines = self.watch.since(self.began)
        steps = itertools.pairwise(lines)
        return float(sum(later["t"] - line["t"] for line, later in steps if line["slots"] != SLOTS))

    def kinds(self) -> set[str]:
        """The kinds of the client's errors."""
        return {name for line in self.load.since(self.began) for name in line.get("errors", ())}

    def lost(self) -> int:
        """How many acknowledged writes cannot be read any more; the load must have ended."""
        last = self.load.lines[-1]
        assert last.get("lost") is not None, f"the client could not read what it had written: {last}"
        assert last["written"] > 0, "nothing was written"
        return int(last["lost"])

    def errors(self) -> tuple[int, int, float]:
        """The client's errors, its successes, and the seconds between the first and the last error."""
        lines = [line for line in self.load.since(self.began) if "errors" in line]
        bad = [line["t"] for line in lines if line["errors"]]
        count = sum(sum(line["errors"].values()) for line in lines)
        return count, sum(line["done"] for line in lines), (bad[-1] - bad[0] + 0.5) if bad else 0.0


@contextlib.contextmanager
def watched(container: Container, shape: tuple[str, str, int, int]) -> Iterator[tuple[Program, Program]]:
    """A client under load and a watcher, for the body."""
    name, domain, primaries, replicas = shape
    watch = Program(container, WATCH, name, domain, str(primaries), str(replicas))
    load = Program(container, LOAD, domain.replace(f"{name}-nodes", name, 1), f"load-{time.time_ns()}")
    try:
        begin = time.monotonic()
        while not (watch.lines and load.lines and watch.lines[-1]["whole"]):
            assert time.monotonic() - begin < 120, f"nothing to see: {watch.lines[-1:]} {load.lines[-1:]}"
            time.sleep(0.3)
        yield watch, load
    finally:
        load.close()
        watch.close()


def kill_a_primary(release: Release, watch: Program) -> None:
    """Kill a primary once its replica has taken over."""
    (pod, *_) = sorted(watch.lines[-1]["held"])
    pids = release.pod(int(pod)).pids()
    # Frozen, then killed: a process that is killed at once is back before anybody misses it.
    signal_all(pids, signal.SIGSTOP)
    eventually(
        lambda: pod not in watch.lines[-1]["held"] or watch.lines[-1]["slots"] == 0, 30, "it is missed"
    )
    eventually(
        lambda: pod not in watch.lines[-1]["held"] and watch.lines[-1]["slots"] == SLOTS, 60, "failover"
    )
    signal_all(pids, signal.SIGKILL)


def told(report: Report, what: str, event: Event, whole: float) -> None:
    """Write the row of an event; the load must have ended."""
    errors, done, window = event.errors()
    last = event.load.lines[-1]
    lost = f"{last['lost']} of {last['written']}" if last.get("lost") is not None else "not known"
    report.row(
        what, f"{event.incomplete():.1f}", f"{whole:.1f}", str(errors), f"{window:.1f}", str(done), lost
    )
