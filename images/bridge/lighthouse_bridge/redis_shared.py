"""The one module that talks to Redis, a single server or a cluster.

Every call touches one key, so that a cluster needs no hash tags, and all keys and the channel begin with
`lighthouse:`, so that an ACL user can be held to them.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisClusterException, RedisError

from .breakers import Breaker
from .logs import log
from .shared import MAX_VALUE_BYTES, SharedAwayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from .redis_settings import RedisSettings
    from .shared import Rate

T = TypeVar("T")
PREFIX = "lighthouse:"
CHANNEL = f"{PREFIX}announcements"
GENERATION = f"{PREFIX}generation"
# A generation that was not confirmed for this long is not trusted; the probe asks well within it.
GENERATION_SECONDS = 1.0
PROBE_SECONDS = 0.4
LISTEN_SECONDS = 5.0
_CALLS = 32
# The most that a bridge holds to one server.
CONNECTIONS = 2 * _CALLS
# The second is not one of the first.
# The last is what redis-py raises when ASK names a node that joined after it last looked.
AWAY = (RedisError, RedisClusterException, OSError, TimeoutError, AttributeError)
# The generic cell rate algorithm in one step, by the server's clock, which all bridges share. Numbers are written
# with %.0f: Lua would round a time in microseconds to 14 digits.
_RATE_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local early = due + interval - tonumber(ARGV[2]) * interval - now
if early > 0 then return early end
redis.call('SET', KEYS[1], string.format('%.0f', due + interval), 'PX',
    string.format('%.0f', math.ceil((due + interval - now) / 1000)))
return 0
"""


class _FileCredentials(CredentialProvider):
    """User and password, the password read from its file at every connection, so that it may rotate."""

    def __init__(self, username: str | None, password_file: Path) -> None:
        self._username = username
        self._file = password_file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password as they are now; raises OSError."""
        password = self._file.read_text().strip()
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """`get_credentials`, beside the event loop."""
        return await asyncio.to_thread(self.get_credentials)


class RedisShared:
    """Shared state in Redis. After one failed call Redis counts as away until the next probe succeeds, so that
    callers wait for it once and not each."""

    def __init__(self, settings: RedisSettings) -> None:
        self._seconds = settings.seconds
        self._client: Any = _client(settings)
        self._away = Breaker("redis", 1, math.inf)
        self._reason = "it was not reached yet"
        self._calls = asyncio.Semaphore(_CALLS)
        self._mark = ""
        self._mark_at = -math.inf
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """As Shared says."""
        await self._probe()
        self._tasks = [asyncio.create_task(self._keep_probing()), asyncio.create_task(self._keep_listening())]

    async def close(self) -> None:
        """As Shared says."""
        self._closing = True
        running = set(self._tasks)
        while running:
            for task in running:
                task.cancel()
            # Again until each has ended: redis-py may answer a cancellation with an error of its own.
            _, running = await asyncio.wait(running, timeout=self._seconds)
        with suppress(*AWAY):
            async with asyncio.timeout(self._seconds):
                await self._client.aclose()

    async def wait_for(self, name: str, rate: Rate) -> float:
        """As Shared says."""
        key = _key("rate", name)
        early = await self._call(
            lambda: self._client.eval(_RATE_SCRIPT, 1, key, rate.interval_us, rate.burst)
        )
        return int(early) / 1_000_000

    async def recall(self, name: str) -> bytes | None:
        """As Shared says."""
        value: bytes | None = await self._call(lambda: self._client.get(_key("value", name)))
        return value

    async def keep(self, name: str, value: bytes, seconds: float) -> None:
        """As Shared says."""
        if len(value) <= MAX_VALUE_BYTES:
            milliseconds = math.ceil(seconds * 1000)
            await self._call(lambda: self._client.set(_key("value", name), value, px=milliseconds))

    async def forget(self, name: str) -> None:
        """As Shared says."""
        await self._call(lambda: self._client.delete(_key("value", name)))

    def generation(self) -> str | None:
        """As Shared says."""
        return self._mark if time.monotonic() - self._mark_at <= GENERATION_SECONDS else None

    async def renew(self) -> None:
        """As Shared says."""
        # Random and not a count: a server that lost its memory would count to the same number again.
        mark = secrets.token_hex(8)
        self._mark_at = -math.inf
        await self._call(lambda: self._client.set(GENERATION, mark))
        await self.announce("generation", mark)

    async def announce(self, kind: str, text: str) -> None:
        """As Shared says."""
        await self._call(lambda: self._client.publish(CHANNEL, f"{kind} {text}"))

    def listen(self, kind: str, listener: Callable[[str], None]) -> None:
        """As Shared says."""
        self._listeners.setdefault(kind, []).append(listener)

    async def _call(self, work: Callable[[], Awaitable[T]]) -> T:
        if not self._away.allows():
            raise SharedAwayError(f"Redis is away: {self._reason}")
        try:
            return await self._within_time(work)
        except AWAY as error:
            self._failed(error)
            raise SharedAwayError(f"Redis is away: {self._reason}") from None

    async def _within_time(self, work: Callable[[], Awaitable[T]]) -> T:
        # A task of its own, since redis-py may answer the cancellation of a time limit with an error of its own and
        # go on, from one node of a cluster to the next, while the caller waits.
        task = asyncio.ensure_future(self._one_of_few(work))
        task.add_done_callback(_leave)
        try:
            done, _ = await asyncio.wait({task}, timeout=self._seconds)
        finally:
            task.cancel()
        if not done:
            raise TimeoutError
        return task.result()

    async def _one_of_few(self, work: Callable[[], Awaitable[T]]) -> T:
        async with self._calls:
            return await work()

    def _failed(self, error: Exception) -> None:
        self._reason = str(error) or f"no answer within {self._seconds:g} s"
        if self._away.allows():
            self._away.failed(self._reason)

    async def _probe(self) -> None:
        asked = time.monotonic()
        try:
            mark = await self._within_time(self._read_mark)
        except AWAY as error:
            self._failed(error)
            return
        self._mark, self._mark_at = mark, asked
        self._away.succeeded()

    async def _read_mark(self) -> str:
        mark = await self._client.get(GENERATION)
        if mark is None:
            await self._client.set(GENERATION, secrets.token_hex(8), nx=True)
            mark = await self._client.get(GENERATION)
        return bytes(mark).decode()

    async def _keep_probing(self) -> None:
        while not self._closing:
            await asyncio.sleep(PROBE_SECONDS)
            await self._probe()

    async def _keep_listening(self) -> None:
        while not self._closing:
            try:
                async with self._client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    # Left when Redis was away: the connection may be dead without saying so.
                    while self._away.allows() and not self._closing:
                        message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                        if message is not None:
                            self._hear(bytes(message["data"]).decode())
            except AWAY as error:
                log.debug("announcements not heard", reason=str(error))
            await asyncio.sleep(PROBE_SECONDS)

    def _hear(self, text: str) -> None:
        kind, _, rest = text.partition(" ")
        if kind == "generation" and rest != self._mark:
            # Not believed before it was read: a late message must not bring an older generation back.
            self._mark_at = -math.inf
        for listener in self._listeners.get(kind, ()):
            listener(rest)


def _leave(task: asyncio.Task[Any]) -> None:
    # What became of a call that nobody waits for any more is nobody's concern.
    if not task.cancelled():
        task.exception()


def _key(kind: str, name: str) -> str:
    # Names hold what users send: the digest bounds their length and their characters.
    return f"{PREFIX}{kind}:{hashlib.sha256(name.encode()).hexdigest()}"


def _client(settings: RedisSettings) -> Redis | RedisCluster:
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "socket_timeout": settings.seconds,
        "socket_connect_timeout": settings.seconds,
        # One more try, on another connection: the pooled one may be of a server that was restarted.
        "retry": Retry(NoBackoff(), 1),
        "protocol": 2,
        "client_name": "lighthouse-bridge",
        "driver_info": None,
        "max_connections": CONNECTIONS,
    }
    if settings.password_file:
        options["credential_provider"] = _FileCredentials(settings.username, settings.password_file)
    if settings.tls:
        options |= {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
        for name, file in (
            ("ssl_ca_certs", settings.ca_file),
            ("ssl_certfile", settings.certificate_file),
            ("ssl_keyfile", settings.key_file),
        ):
            if file is not None:
                options[name] = str(file)
    if settings.cluster:
        return RedisCluster(**options)
    return Redis(**options)
