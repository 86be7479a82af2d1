"""Keeps this agent a registered expert: session, registration, heartbeats, for ever."""

import threading

import structlog

from lighthouse_agent.backoff import Backoff
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.errors import AgentError, BridgeError, BridgeRefusedError
from lighthouse_agent.metrics import Metrics
from lighthouse_agent.settings import RunSettings

_log = structlog.get_logger()


class Membership:
    """Runs in a thread of its own; `missing` tells other threads what is not yet so."""

    def __init__(self, client: BridgeClient, settings: RunSettings, metrics: Metrics) -> None:
        self._client = client
        self._settings = settings
        self._metrics = metrics
        self._backoff = Backoff(longest=min(30.0, settings.heartbeat_seconds))
        # The token the registration was made with: a new session needs a new registration.
        self._registered_with: str | None = None
        self._missing: str | None = "not yet registered with the bridge"

    @property
    def missing(self) -> str | None:
        """Why this agent is no live expert just now; None when it is."""
        return self._missing

    def keep(self, stop: threading.Event) -> None:
        """Stay registered until `stop` is set, then end the session."""
        while not stop.is_set():
            stop.wait(self._step())
        self._leave()

    def _step(self) -> float:
        """One registration or heartbeat; the seconds to wait before the next."""
        try:
            if self._registered_with is None or self._client.token != self._registered_with:
                self._register()
            self._heartbeat()
        except AgentError as error:
            self._metrics.heartbeats.labels("failed").inc()
            self._metrics.registered.set(0)
            wait = self._backoff.next()
            _log.warning("bridge.away", reason=str(error), retry_seconds=round(wait, 2))
            self._missing = str(error)
            return wait
        self._backoff.reset()
        self._metrics.heartbeats.labels("ok").inc()
        if self._missing is not None:
            _log.info("bridge.joined", agent_type=self._settings.agent_type, bridge=self._settings.bridge.url)
        self._missing = None
        self._metrics.registered.set(1)
        return self._settings.heartbeat_seconds

    def _register(self) -> None:
        self._registered_with = None
        self._client.register_expert(self._settings.agent_type, self._settings.capabilities)
        self._registered_with = self._client.token
        self._metrics.sessions.inc()

    def _heartbeat(self) -> None:
        try:
            self._client.heartbeat()
        except BridgeRefusedError as error:
            if error.status != 404:
                raise
            self._register()
            self._client.heartbeat()
        if self._client.token != self._registered_with:
            self._register()

    def _leave(self) -> None:
        self._metrics.registered.set(0)
        self._missing = "draining"
        try:
            self._client.end_session()
        except BridgeError as error:
            _log.warning("session.end_failed", reason=str(error))
        else:
            _log.info("session.ended")
        self._client.close()
