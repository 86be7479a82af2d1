"""Routes that need no session: health, readiness, status and the API's own description."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from .. import messages as m
from ..clock import now_us
from ..escalations import count_pending
from ..exchange import Reply, reply
from ..experts import count_available
from ..problems import Problem, StoreUnavailableError
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call
    from ..transactions import Connection

PROBE_SECONDS = 3.0


async def health(_bridge: Bridge, _call: Call) -> Reply:
    """Alive: the event loop turns. Never touches the store."""
    return reply(m.HealthAnswer("healthy", "lighthouse-bridge"))


async def ready(bridge: Bridge, _call: Call) -> Reply:
    """Ready: a write was committed just now."""
    if bridge.draining:
        raise Problem(503, "The bridge is shutting down.")
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await bridge.database.probe()
    except TimeoutError:
        raise StoreUnavailableError(f"the event store did not commit within {PROBE_SECONDS:g} s") from None
    return reply(m.ReadyAnswer("ready"))


async def live(bridge: Bridge, call: Call) -> Reply:
    """As health, for a liveness probe."""
    return await health(bridge, call)


async def accepts(bridge: Bridge, call: Call) -> Reply:
    """As ready, for a readiness probe."""
    return await ready(bridge, call)


async def startup(bridge: Bridge, call: Call) -> Reply:
    """Started: the rules are loaded, and a write was committed once."""
    if not bridge.committed_once:
        await ready(bridge, call)
        bridge.committed_once = True
    return reply(m.HealthAnswer("healthy", "lighthouse-bridge"))


async def status(bridge: Bridge, _call: Call) -> Reply:
    """What the bridge is doing, in numbers."""

    def work(connection: Connection) -> tuple[int, int, int]:
        pending = count_pending(connection)
        agents = connection.execute("SELECT count(DISTINCT agent_id) FROM sessions").fetchone()[0]
        return pending, agents, count_available(connection, now_us())

    store = "operational"
    pending = agents = experts = 0
    try:
        pending, agents, experts = await bridge.database.read(work)
    except StoreUnavailableError:
        store = "unavailable"
    answer = m.StatusAnswer(
        status="stopped" if bridge.draining else "operational",
        mode="normal" if store == "operational" and not bridge.decider.broken else "degraded",
        components={
            "event_store": store,
            "speed_layer": "degraded" if bridge.decider.broken else "operational",
            "expert_coordinator": "operational" if experts else "no experts",
        },
        active_agents=agents,
        pending_validations=pending,
        uptime_seconds=round(time.monotonic() - bridge.started, 3),
        sequence=bridge.database.last_sequence,
        rules_version=bridge.decider.version,
    )
    return reply(answer)


ROUTES = (
    Route(
        method="GET",
        path="/health",
        handle=health,
        public=True,
        summary="Whether the process lives",
        answers={200: m.HealthAnswer},
    ),
    Route(
        method="GET",
        path="/ready",
        handle=ready,
        public=True,
        summary="Whether writes are accepted",
        answers={200: m.ReadyAnswer},
        errors=frozenset({503}),
    ),
    Route(
        method="GET",
        path="/health/live",
        handle=live,
        public=True,
        summary="Whether the process lives, for a liveness probe",
        answers={200: m.HealthAnswer},
    ),
    Route(
        method="GET",
        path="/health/ready",
        handle=accepts,
        public=True,
        summary="Whether writes are accepted, for a readiness probe",
        answers={200: m.ReadyAnswer},
        errors=frozenset({503}),
    ),
    Route(
        method="GET",
        path="/health/startup",
        handle=startup,
        public=True,
        summary="Whether the bridge could ever write, for a startup probe",
        answers={200: m.HealthAnswer},
        errors=frozenset({503}),
    ),
    Route(
        method="GET",
        path="/status",
        handle=status,
        public=True,
        summary="The bridge in numbers",
        answers={200: m.StatusAnswer},
    ),
)
