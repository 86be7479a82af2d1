"""The keeper: asks all nodes, plans, and does the next step, for ever. One runs in a cluster."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from redis.crc import key_slot

from lighthouse_redis_keeper.actions import Action, ClaimSlots, Move
from lighthouse_redis_keeper.commands import commands, described
from lighthouse_redis_keeper.errors import NodeError
from lighthouse_redis_keeper.mover import Mover
from lighthouse_redis_keeper.planner import Situation, Target, has_shape, is_whole, plan
from lighthouse_redis_keeper.server import Server
from lighthouse_redis_keeper.topology import ordinal_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lighthouse_redis_keeper.settings import Access, KeeperSettings
    from lighthouse_redis_keeper.topology import View

log = structlog.get_logger()

GRACE_SECONDS = 15.0
"""How long a node is gone for good before its slots are given away: the cluster's own vote is far quicker."""
CALM_SECONDS = 20.0
"""How long the cluster must be whole before roles are moved between machines."""
REQUEST_KEY = "lighthouse-keeper:target"
"""The key that holds the shape that `scale` asks for, while the pods of the larger one still run."""
REQUEST_MS = 120_000


class Nodes:
    """The nodes of all pods that are known, by the number of the pod."""

    def __init__(self, host: Callable[[int], str], access: Access) -> None:
        self._host = host
        self.access = access
        self._servers: dict[int, Server] = {}
        self._known: set[int] = set()

    def server(self, pod: int) -> Server:
        """A pod's node."""
        server, host = self._servers.get(pod), self._host(pod)
        if server is None or server.host != host:
            server = self._servers[pod] = Server(host, self.access)
        return server

    def observe(self, size: int) -> dict[int, View]:
        """What the nodes say that answer: those of the first `size` pods, and others that they know."""
        pods = set(range(size)) | self._known
        with ThreadPoolExecutor(len(pods)) as pool:
            found = pool.map(self._view, sorted(pods))
        views = {view.ordinal: view for view in found if view}
        named = {ordinal_of(m.host) for view in views.values() for m in view.members.values()}
        self._known = {pod for pod in named if pod is not None}
        return views

    def _view(self, pod: int) -> View | None:
        try:
            view = self.server(pod).view(pod)
        except NodeError as error:
            log.debug("node does not answer", pod=pod, error=str(error))
            return None
        if ordinal_of(view.me.host) != pod:
            # DNS still has the address of an earlier pod, which another has now.
            self.server(pod).close()
            return None
        return view

    def request(self, views: dict[int, View]) -> Server | None:
        """The node that has the key of requests."""
        slot = key_slot(REQUEST_KEY.encode())
        owners = [pod for pod, view in views.items() if slot in view.me.slots]
        return self.server(owners[0]) if owners else None


class Keeper:
    """Brings a cluster to its target, step by step."""

    def __init__(self, settings: KeeperSettings) -> None:
        self._nodes = Nodes(settings.host, settings.access)
        self._configured = settings.target
        self._requested: tuple[Target, float] | None = None
        self._started = False
        self._gone_since: dict[str, float] = {}
        self._whole_since: float | None = None
        self.situation = Situation(settings.target, {})
        self.done = False
        """Whether the last step found the cluster whole, in its shape, and nothing to do."""
        self.steps = 0

    def step(self) -> list[Action]:
        """Ask, plan and act once; returns what was done or tried. What fails is logged and planned anew."""
        views = self._nodes.observe(self._configured.size)
        target = self._target(views)
        self.situation = self._judge(Situation(target, views))
        actions = plan(self.situation)
        for action in actions:
            try:
                self._act(action)
            except NodeError as error:
                log.warning("a step failed", step=type(action).__name__, error=str(error))
        self.done = not actions and is_whole(self.situation) and has_shape(self.situation)
        self.steps += 1
        return actions

    def _judge(self, situation: Situation) -> Situation:
        now = time.monotonic()
        self._gone_since = {name: self._gone_since.get(name, now) for name in situation.replaced()}
        gone = frozenset(name for name, since in self._gone_since.items() if now - since > GRACE_SECONDS)
        if not is_whole(situation):
            self._whole_since = None
        elif self._whole_since is None:
            self._whole_since = now
        settled = self._whole_since is not None and now - self._whole_since > CALM_SECONDS
        return replace(situation, gone=gone, settled=settled)

    def _target(self, views: dict[int, View]) -> Target:
        """The configured shape, or a smaller one that `scale` asks for."""
        server = self._nodes.request(views)
        try:
            if server is not None and not self._started:
                # What was asked of an earlier keeper has come true, or is asked again in a moment.
                server.ask("DEL", REQUEST_KEY)
                self._started = True
            elif server is not None:
                asked = server.ask("GET", REQUEST_KEY)
                until = time.monotonic() + REQUEST_MS / 1000
                self._requested = (Target(*map(int, asked.split())), until) if asked else None
        except NodeError as error:
            log.debug("the request cannot be read", error=str(error))
        if self._requested is None or self._requested[1] < time.monotonic():
            return self._configured
        return min(self._requested[0], self._configured, key=lambda target: target.size)

    def _act(self, action: Action) -> None:
        log.info("step", **described(action))
        if isinstance(action, ClaimSlots):
            log.error("the data of a primary is lost", node=action.lost, slots=len(action.slots))
        if isinstance(action, Move):
            self._move(action)
            return
        for pod, words in commands(action, self.situation.views, self._nodes.access.port):
            self._nodes.server(pod).ask(*words)

    def _move(self, move: Move) -> None:
        views, server = self.situation.views, self._nodes.server
        others = [server(pod) for pod in self.situation.held if pod not in {move.source, move.target}]
        ends = (views[move.source], views[move.target])
        mover = Mover(server(move.source), server(move.target), ends, others, self._nodes.access)
        log.info("slots moved", keys=mover.move(move.slots), **described(move))
