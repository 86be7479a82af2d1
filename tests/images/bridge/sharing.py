"""Clients of a Redis server as bridges are, and waiting for what they learn."""

import asyncio
import time
from collections.abc import Callable

from lighthouse_bridge.redis_settings import RedisSettings
from tests.images.bridge.redis_servers import ACL_USER, Server


def settings(server: Server, *, in_cluster: bool = False, seconds: float = 1.0) -> RedisSettings:
    """How a bridge reaches the server."""
    return RedisSettings(
        host="127.0.0.1",
        port=server.port,
        tls=False,
        cluster=in_cluster,
        username=ACL_USER,
        password_file=server.password_file,
        seconds=seconds,
    )


async def until(holds: Callable[[], bool], seconds: float = 5) -> float:
    """Wait until something holds; the seconds it took."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < seconds
        await asyncio.sleep(0.01)
    return time.monotonic() - begin
