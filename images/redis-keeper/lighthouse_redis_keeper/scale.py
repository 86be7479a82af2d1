"""Asks the keeper for a smaller cluster and waits until the pods that are too many hold nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.keeper import REQUEST_KEY, REQUEST_MS, Nodes
from lighthouse_redis_keeper.planner import Situation, is_drained
from lighthouse_redis_keeper.topology import ordinal_of

if TYPE_CHECKING:
    from lighthouse_redis_keeper.settings import KeeperSettings

log = structlog.get_logger()

PAUSE_SECONDS = 2.0
TOGETHER_SECONDS = 30.0
"""How long to look for nodes before an installation counts as one without a cluster."""


def scale(settings: KeeperSettings, seconds: float) -> bool:
    """Bring a running cluster down to the target; False when it took longer than `seconds`.

    Does nothing when there is no cluster, or one that is not larger.
    """
    nodes = Nodes(settings.host, settings.access)
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        situation = Situation(settings.target, nodes.observe(settings.target.size))
        if not situation.views:
            if time.monotonic() - begin > TOGETHER_SECONDS:
                log.info("no node answers: nothing to bring down")
                return True
        elif not _leaving(situation) or is_drained(situation):
            log.info("the pods that leave hold nothing", size=settings.target.size)
            return True
        else:
            _ask(nodes, situation)
        time.sleep(PAUSE_SECONDS)
    return False


def _leaving(situation: Situation) -> bool:
    members = [member for view in situation.views.values() for member in view.members.values()]
    ordinals = [ordinal_of(member.host) for member in members if not member.failed]
    return any(pod is not None and pod >= situation.target.size for pod in ordinals)


def _ask(nodes: Nodes, situation: Situation) -> None:
    target = situation.target
    server = nodes.request(dict(situation.views))
    try:
        if server is not None:
            server.ask("SET", REQUEST_KEY, f"{target.primaries} {target.replicas}", "PX", REQUEST_MS)
    except NodeError as error:
        log.info("the request could not be made", error=str(error))
