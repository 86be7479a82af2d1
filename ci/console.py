"""What a person sees of long work: steps with their elapsed time, and failures in one sentence."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType, TracebackType

HEARTBEAT_SECONDS = 20.0


class Failure(Exception):  # noqa: N818 - it is what the user reads, not a programming error
    """Work that cannot go on; its text is one sentence that names the thing, the value and the way out."""


@dataclass
class Step:
    """One piece of work on the screen."""

    title: str
    started: float = field(default_factory=time.monotonic)
    remark: str = ""

    def cached(self) -> None:
        """Say that the result was there already."""
        self.remark = "cached"

    def note(self, text: str) -> None:
        """Say something about the result, shown behind the elapsed time."""
        self.remark = text


class Steps:
    """Shows steps as they run, several at once if need be: a live view on a terminal, lines elsewhere."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = self.console.is_terminal and not quiet
        self._quiet = quiet
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self._running: dict[int, Step] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Steps:
        if self._live:
            self._progress.start()
        elif not self._quiet:
            threading.Thread(target=self._heartbeat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._live:
            self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if not self._quiet:
            self.console.print(text)

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` while the body runs, then its time and remark."""
        step = Step(title)
        task: TaskID | None = self._progress.add_task(title) if self._live else None
        with self._lock:
            self._running[id(step)] = step
        try:
            yield step
        except BaseException:
            self._finish(step, task, "[red]✗[/red]")
            raise
        self._finish(step, task, "[green]✓[/green]")

    def _finish(self, step: Step, task: TaskID | None, mark: str) -> None:
        with self._lock:
            del self._running[id(step)]
        if task is not None:
            self._progress.remove_task(task)
        remark = f"  [dim]{step.remark}[/dim]" if step.remark else ""
        self.say(f"{mark} {step.title}  [dim]{time.monotonic() - step.started:.1f} s[/dim]{remark}")

    def _heartbeat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            now = time.monotonic()
            with self._lock:
                slow = [step for step in self._running.values() if now - step.started >= HEARTBEAT_SECONDS]
            for step in slow:
                self.say(f"… {step.title}  {now - step.started:.0f} s")


_children: set[subprocess.Popen[bytes]] = set()


def run(
    argv: Sequence[str | Path],
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    hint: str = "",
) -> str:
    """Run a program to its end and return its standard output.

    Its error output goes to `log` (beside the standard output, if given). A non-zero exit raises `Failure`
    with the last line it said; `hint` is the way out.
    """
    words = [str(word) for word in argv]
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else None,
            cwd=cwd,
        )
    except FileNotFoundError:
        raise Failure(
            f"The program {words[0]} is not installed: run 'make up' as root, which installs it."
        ) from None
    _children.add(process)
    try:
        out, err = process.communicate(stdin)
    finally:
        _children.discard(process)
        if process.poll() is None:
            process.kill()
            process.wait()
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(out + err)
    if process.returncode:
        said = deque(
            (line for line in (err or out).decode(errors="replace").splitlines() if line.strip()), maxlen=4
        )
        where = f" The whole output is in {log}." if log else ""
        tail = " | ".join(said) or "no message"
        raise Failure(
            f"'{' '.join(words[:4])}' ended with {process.returncode}: {tail}.{where}{' ' + hint if hint else ''}"
        )
    return out.decode(errors="replace")


def stop_children() -> None:
    """End the programs that `run` has under way in any thread."""
    for process in list(_children):
        with contextlib.suppress(ProcessLookupError):
            process.terminate()


@contextlib.contextmanager
def background() -> Iterator[ThreadPoolExecutor]:
    """One thread for work beside the main thread's; what goes wrong in the body ends it."""
    pool = ThreadPoolExecutor(1)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        stop_children()
        raise
    pool.shutdown()


def interrupt_on_sigterm() -> None:
    """Make SIGTERM clean up as Ctrl-C does."""

    def handle(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, handle)


def fail(message: str) -> None:
    """Print a failure and leave with exit code 1."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Failures become one sentence and exit code 1, an interruption ends what runs and exit code 130."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except Failure as failure:
            stop_children()
            fail(str(failure))
        except KeyboardInterrupt:
            stop_children()
            click.echo(
                "interrupted: run the command again to go on, or 'make down' to remove everything.", err=True
            )
            os._exit(130)

    return wrapper
