"""Takes work from the bridge and answers it, one at a time, for ever."""

import threading
import time
from collections.abc import Callable

import structlog

from lighthouse_agent.answers import WorkItem
from lighthouse_agent.backoff import Backoff
from lighthouse_agent.client import BridgeClient
from lighthouse_agent.contexts import ContextError, Contexts
from lighthouse_agent.errors import AgentError, BridgeRefusedError, one_line
from lighthouse_agent.judge import DECISIONS, Judge, Opinion
from lighthouse_agent.metrics import Metrics

POLL_SECONDS = 20.0
_IDLE_SECONDS = 0.1
_CONFLICTS = frozenset({404, 409})

_log = structlog.get_logger()


class Worker:
    """Runs in a thread of its own; `idle` says why there is no work to ask for, None when there may be."""

    def __init__(
        self,
        client: BridgeClient,
        judge: Judge,
        contexts: Contexts,
        metrics: Metrics,
        *,
        agent_type: str,
        idle: Callable[[], str | None],
    ) -> None:
        self._client = client
        self._judge = judge
        self._contexts = contexts
        self._metrics = metrics
        self._agent_type = agent_type
        self._idle = idle
        self._backoff = Backoff(longest=5.0)

    def keep(self, stop: threading.Event) -> None:
        """Work until `stop` is set."""
        while not stop.is_set():
            if self._idle() is not None:
                stop.wait(_IDLE_SECONDS)
                continue
            try:
                work = self._client.fetch_work(POLL_SECONDS)
                if work is not None and not stop.is_set():
                    self._do(work)
                self._backoff.reset()
            except AgentError as error:
                wait = self._backoff.next()
                if not stop.is_set():
                    _log.warning("work.failed", reason=str(error), retry_seconds=round(wait, 2))
                stop.wait(wait)

    def _do(self, work: WorkItem) -> None:
        started = time.monotonic()
        try:
            if work.kind == "validation":
                opinion = self._opinion(work)
                status = self._client.answer_work(
                    work.work_id, opinion.decision, opinion.confidence, opinion.reasoning
                )
                answer = opinion.decision
            else:
                answer = status = "failed"
                reason = "This expert judges validations only; it neither runs nor writes anything."
                self._client.complete_work(work.work_id, answer, reason)
        except BridgeRefusedError as error:
            if error.status not in _CONFLICTS:
                raise
            answer, status = "unwanted", error.detail
        seconds = time.monotonic() - started
        self._metrics.judged.labels(answer).inc()
        self._metrics.judge_seconds.observe(seconds)
        _log.info("work.done", kind=work.kind, validation_id=work.validation_id, answer=answer, status=status)

    def _opinion(self, work: WorkItem) -> Opinion:
        try:
            opinion = self._judge.judge(self._contexts.read(work, self._agent_type))
        except ContextError as error:
            return Opinion("abstain", 0.0, one_line(str(error)))
        except Exception as error:
            # A judge is foreign code: its faults must neither approve nor end this process.
            _log.exception("judge.failed", validation_id=work.validation_id)
            return Opinion("abstain", 0.0, f"The judge failed with {type(error).__name__}.")
        if opinion.decision not in DECISIONS or not 0 <= opinion.confidence <= 1:
            return Opinion("abstain", 0.0, "The judge gave no usable opinion.")
        return Opinion(opinion.decision, opinion.confidence, one_line(opinion.reasoning))
