"""What the bridge needs of its store, whichever engine keeps it: transactions that append events, and reads.

One thread writes. It takes all writes that wait and commits them together, so that one wait for the disk pays for
many; a commit is durable before anybody is told. Statements are written once, in the SQL that both engines
understand, with `?` or `:name` for values.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from . import metrics, tracing
from .problems import StoreUnavailableError
from .transactions import Batch, Connection, Job, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .events import StreamLine


T = TypeVar("T")
BATCH_JOBS = 512
BATCH_ROWS = 5_000
QUEUE = 20_000
READERS = 4


class Database(ABC):
    """A store: `sqlite_database` and `postgres_database` are the engines.

    `on_commit` is called in the event loop with the events of every commit, each once and in order, before
    whoever wrote them is told; with several bridges on one store, also with the events of the others.
    `last_sequence` is the last of them. `generation` changes when the store was replaced by another.
    """

    # The engine's name, for the few statements that have no common form.
    DIALECT: str
    # Exceptions of the engine, which concern the whole commit and not one write alone.
    ERRORS: tuple[type[Exception], ...]

    def __init__(self, name: str, on_commit: Callable[[list[StreamLine]], None]) -> None:
        self.name = name
        self.last_sequence = 0
        self.generation = 0
        # Why the last commit failed, until one succeeds.
        self.trouble: str | None = None
        self._on_commit = on_commit
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._gathered: list[Job] = []
        self._order = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._writer = threading.Thread(target=self._run, name="store-writer", daemon=True)

    async def start(self) -> None:
        """Open the store if it can be opened, and begin serving; an unusable one is tried again later."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._begin)
        self._writer.start()

    async def close(self) -> None:
        """Finish queued writes and close the store."""
        self._hand_over()
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True, cancel_futures=True)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction shared with other writes; returns when it is durable.

        An exception of `work` undoes it alone. Raises StoreUnavailableError when nothing could be written.
        """
        if self._jobs.qsize() + len(self._gathered) >= QUEUE:
            raise StoreUnavailableError(f"{QUEUE} writes are waiting already; try again later")
        job = Job(work, asyncio.get_running_loop(), self.ERRORS)
        if not self._gathered:
            job.loop.call_soon(self._hand_over)
        self._gathered.append(job)
        with tracing.span("store write", **{"db.system.name": self.DIALECT}):
            result: T = await job.future
        return result

    def _hand_over(self) -> None:
        """Give the writer what one turn of the event loop brought: woken for the first of it, the writer would take
        the interpreter from the loop and commit that one alone."""
        jobs, self._gathered = self._gathered, []
        for job in jobs:
            self._jobs.put(job)

    async def read(
        self, work: Callable[[Connection], T], *, snapshot: bool = False, told: int | None = None
    ) -> T:
        """Run `work` on a reader connection in a thread; raises StoreUnavailableError when it cannot.

        With `snapshot` all its statements see one moment. With `told` it may be asked of a standby that has the
        events up to this one, of which the caller knows, and may lack those of the last seconds after it.
        """
        loop = asyncio.get_running_loop()
        with tracing.span("store read", **{"db.system.name": self.DIALECT}):
            return await loop.run_in_executor(self._readers, self._read, work, snapshot, told)

    async def probe(self) -> None:
        """Write and commit a row; raises StoreUnavailableError with the reason when that is impossible."""
        try:
            async with asyncio.timeout(1.0 if self.trouble else None):
                await self.write(_probe)
        except TimeoutError:
            raise StoreUnavailableError(self.trouble or f"{self.name} did not commit in time") from None

    @abstractmethod
    def _begin(self) -> None:
        """Open the store for the first time; an unusable one is logged."""

    @abstractmethod
    def _commit(self, jobs: list[Job]) -> None:
        """Commit the writes together and settle each, whatever happens."""

    @abstractmethod
    def _read(self, work: Callable[[Connection], T], snapshot: bool, told: int | None) -> T:
        """Run `work` on this thread's connection."""

    @abstractmethod
    def _shut(self) -> None:
        """Close what the writer thread opened."""

    def _run(self) -> None:
        ending = False
        while not ending:
            waiting = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(waiting) < BATCH_JOBS:
                    waiting.append(self._jobs.get_nowait())
            jobs = [job for job in waiting if job is not None]
            ending = len(jobs) < len(waiting)
            if jobs:
                self._commit(jobs)
        self._shut()

    def _succeeded(self, batch: Batch, jobs: list[Job], seconds: float) -> None:
        """Count a commit that is durable, hand on its events and settle its writes."""
        self.trouble = None
        metrics.store_ready.set(1)
        metrics.commit_seconds.observe(seconds)
        metrics.commit_jobs.observe(len(jobs))
        for event_type, count in Counter(row[2] for row in batch.rows).items():
            metrics.child(metrics.events_appended, event_type).inc(count)
        self._publish(batch.lines, jobs, batch.head.sequence)

    def _publish(self, lines: Iterable[StreamLine], jobs: list[Job], head: int) -> None:
        """Hand on the events that were not handed on yet, then settle the writes."""
        with self._order:
            fresh = [line for line in lines if line.sequence > self.last_sequence]
            self.last_sequence = max(head, self.last_sequence)
            metrics.last_sequence.set(self.last_sequence)

            def settle() -> None:
                if fresh:
                    self._on_commit(fresh)
                for job in jobs:
                    job.settle()

            # The loop is closed when the process gave up waiting for this commit: nobody is left to tell.
            with suppress(RuntimeError):
                if self._loop is not None:
                    self._loop.call_soon_threadsafe(settle)


def _probe(transaction: Transaction) -> None:
    transaction.connection.execute(
        "INSERT INTO store_metadata (key, value, updated_at) VALUES ('probe', ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (str(transaction.now_us), transaction.now_us // 1_000_000),
    )
