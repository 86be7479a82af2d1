"""The bridge: its parts, held together for the routes."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import metrics
from .bells import Bells
from .breakers import expert_breaker
from .clock import now_us
from .collaborations import end_idle_collaborations
from .consensus import Ruling
from .credentials import JoinKeys
from .decider import Decider
from .decisions.layers import PROJECT_FOLDER
from .elicitations import forget_elicitations
from .escalations import Ended, Limits, is_due, resume, sweep
from .event_queries import index_page
from .kept_head import keep_head
from .limits import RequestLimits
from .logs import log
from .pairs import cancel_idle_pairs
from .postgres_database import PostgresDatabase
from .problems import StoreUnavailableError
from .project import Project, load_project
from .redis_shared import RedisShared
from .rulebook import Sources
from .sessions import Sessions
from .shared import LocalShared, SharedAwayError
from .snapshots import build_snapshot, is_snapshot_due, store_snapshot
from .sqlite_database import SqliteDatabase
from .streams import Feed
from .subscriptions import Subscribers
from .verdict_memory import VerdictMemory

if TYPE_CHECKING:
    from .auth_keys import AuthKeys
    from .database import Database
    from .events import StreamLine
    from .settings import Settings
    from .shared import Shared
    from .transactions import Transaction

HOUSEKEEPING_SECONDS = 30.0
SWEEP_SECONDS = 0.2
INDEX_SECONDS = 5.0
# There before the first, as LIMITS in metrics.
metrics.expert_seconds.labels(Ruling.NONE.value)


class Bridge:
    """Parts of one bridge process. Made before the event loop serves, started and closed inside it."""

    def __init__(self, settings: Settings, auth_keys: AuthKeys) -> None:
        self.settings = settings
        self.auth_keys = auth_keys
        self.feed = Feed()
        self.bells = Bells()
        self.expert_breaker = expert_breaker()
        self.database = self._database(settings)
        self.subscribers = Subscribers(self.feed, self.database, settings.heartbeat_seconds)
        self.shared: Shared = LocalShared() if settings.redis is None else RedisShared(settings.redis)
        self.sessions = Sessions(self.database, auth_keys, self.shared, alone=settings.postgres is None)
        self.keys = JoinKeys(settings.keys_dir)
        self.request_limits = RequestLimits(
            self.shared,
            agent_per_minute=settings.agent_per_minute,
            total_per_second=settings.total_per_second,
            replicas=settings.replicas,
        )
        remembered = (
            None if settings.redis is None else VerdictMemory(self.shared, auth_keys, settings.project_roots)
        )
        sources = Sources(
            settings.rules_dir,
            settings.organisation_rules_dir,
            settings.patterns_file,
            settings.project_roots,
            settings.rego_dir,
            settings.rego_server,
        )
        self.decider = Decider(sources, remembered)
        self._project = Project()
        self._rules_touched = asyncio.Event()
        self.started = time.monotonic()
        self.draining = False
        self.committed_once = False
        self.searches = asyncio.Semaphore(2)
        self.uploads = asyncio.Semaphore(4)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load the rules, open the store and begin the periodic work."""
        await self.database.start()
        await self._look_at_project()
        await asyncio.to_thread(self.decider.load, self._project)
        await self.shared.start()
        # With others beside it this bridge was not missed: nobody's time is to be given again.
        if self.settings.postgres is None:
            with suppress(StoreUnavailableError):
                await self.database.write(lambda transaction: resume(transaction, self.limits()))
        self._tasks = [
            asyncio.create_task(self._keep_time()),
            asyncio.create_task(self._keep_house()),
            asyncio.create_task(self._keep_index()),
            asyncio.create_task(self._watch_rules()),
        ]

    async def close(self) -> None:
        """Stop the periodic work, store what is in memory only and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(StoreUnavailableError):
            await self.sessions.flush()
            await self._keep_head()
        await self.database.close()
        await self.shared.close()

    def limits(self, *, experts: bool = True) -> Limits:
        """How long experts and people have to decide a validation."""
        return Limits(
            expert_us=int(self.settings.expert_seconds * 1_000_000),
            review_us=int(self.settings.review_seconds * 1_000_000),
            capabilities=self.decider.capabilities,
            experts=experts,
        )

    def experts_ended(self, ended: Ended) -> None:
        """Note how the experts' part in an escalation ended."""
        metrics.expert_seconds.labels(ended.ruling.value).observe(ended.seconds)
        if ended.ruling is not Ruling.NONE:
            metrics.escalations_ended.labels("expert", ended.ruling.value).inc()
        if ended.answers:
            self.expert_breaker.succeeded()
        else:
            self.expert_breaker.failed("no expert answered in time")

    def stop_waiting(self) -> None:
        """Send away everybody who waits for something: the bridge is shutting down."""
        self.draining = True
        self.feed.close()
        self.bells.close()

    def _database(self, settings: Settings) -> Database:
        if settings.postgres is not None:
            return PostgresDatabase(settings.postgres, self._committed)
        return SqliteDatabase(settings.event_store_path, settings.min_free_bytes, self._committed)

    def _committed(self, lines: list[StreamLine]) -> None:
        self.feed.publish(lines)
        self.bells.publish(lines)
        if any((line.aggregate_id or "").startswith(PROJECT_FOLDER) for line in lines):
            self._rules_touched.set()

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.sessions.flush()
                await self._sweep()
                await self.database.write(end_silent_talks)
                await self._snapshot()
                await self._keep_head()
            except StoreUnavailableError as error:
                log.warning("housekeeping postponed", reason=str(error))
            await asyncio.sleep(HOUSEKEEPING_SECONDS)

    async def _keep_index(self) -> None:
        """Index for search what is new, in small steps and half of the time, so that a search has little left to do."""
        indexed = -1
        while True:
            last, started, more = self.database.last_sequence, time.monotonic(), False
            if last > indexed:
                with suppress(StoreUnavailableError):
                    more = await self.database.write(
                        lambda transaction: index_page(transaction, self.database.DIALECT)
                    )
                    indexed = indexed if more else last
            await asyncio.sleep(time.monotonic() - started if more else INDEX_SECONDS)

    async def _keep_head(self) -> None:
        keys = self.auth_keys.verifying()
        for problem in await self.database.write(lambda transaction: keep_head(transaction, keys)):
            log.error("the store was changed behind the bridge", reason=problem)

    async def _snapshot(self) -> None:
        """Keep the tree when enough happened; of several bridges the first one does."""
        now = now_us()
        if not await self.database.read(lambda connection: is_snapshot_due(connection, now)):
            return
        name = f"auto-{now}"
        built = await self.database.read(lambda c: build_snapshot(c, name, now), snapshot=True)

        def work(transaction: Transaction) -> None:
            if is_snapshot_due(transaction.connection, transaction.now_us):
                store_snapshot(transaction, name, built, "lighthouse-bridge", automatic=True)

        await self.database.write(work)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            # A store that fails is reported by whoever needs it; limits are kept once it is back.
            with suppress(StoreUnavailableError):
                if await self.database.read(lambda connection: is_due(connection, now_us())):
                    await self._sweep()

    async def _sweep(self) -> None:
        for ended in await self.database.write(sweep):
            self.experts_ended(ended)

    async def _look_at_project(self) -> None:
        # A store that is away shows no tree; it is looked at again in turn, and until then nothing is recorded.
        with suppress(StoreUnavailableError):
            known = self._project
            self._project = await self.database.read(lambda connection: load_project(connection, known))

    async def _watch_rules(self) -> None:
        while True:
            # The project's rules hold as soon as they are stored here; other sources are looked at in turn.
            with suppress(TimeoutError):
                async with asyncio.timeout(self.settings.rules_reload_seconds):
                    await self._rules_touched.wait()
            self._rules_touched.clear()
            before = self.decider.version
            await self._look_at_project()
            await asyncio.to_thread(self.decider.reload_if_changed, self._project)
            metrics.loop_tasks.set(len(asyncio.all_tasks()))
            if self.decider.version != before:
                # Away, its generation is unknown to all, so nothing remembered counts in any case.
                with suppress(SharedAwayError):
                    await self.shared.renew()


def end_silent_talks(transaction: Transaction) -> None:
    """End pairs and collaborations in which nobody speaks any more, and forget what is long over."""
    forget_elicitations(transaction)
    cancel_idle_pairs(transaction)
    end_idle_collaborations(transaction)
