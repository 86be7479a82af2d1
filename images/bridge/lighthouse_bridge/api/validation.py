"""Validations: a tool call is decided, recorded, and only then answered."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from .. import messages as m
from .. import metrics
from ..bounds import check_shape
from ..clock import iso
from ..credentials import Role
from ..decisions.verdict import Decision
from ..exchange import reply
from ..problems import Problem
from ..route import Route
from ..validations import Validation, new_validation_id, record_validation

if TYPE_CHECKING:
    import sqlite3

    from ..bridge import Bridge
    from ..exchange import Call, Reply

# Longer texts are judged beside the event loop, so that others need not wait for them.
_LONG_INPUT = 2048


async def validate(bridge: Bridge, call: Call) -> Reply:
    """Decide a tool call, in either shape of request."""
    started = time.perf_counter()
    body: m.ToolRequest | m.HookRequest = call.body
    if isinstance(body, m.HookRequest):
        tool_name, tool_input, agent_id, metadata = body.tool, body.input, body.agent, {}
    else:
        tool_name, tool_input, agent_id, metadata = (
            body.tool_name,
            body.tool_input,
            body.agent_id,
            body.metadata,
        )
        if body.session_token is not None:
            named = await bridge.sessions.open(body.session_token)
            if named is None or named.session_id != call.session.session_id:
                raise Problem(403, "The body's session_token is not the token of this request.")
    call.require_agent(agent_id)
    check_shape([tool_name, *([body.id] if isinstance(body, m.HookRequest) and body.id else [])], "The tool")
    check_shape(tool_input, "The tool's input")
    check_shape(metadata, "metadata")
    validation, cache_hit = await _decide(bridge, tool_name, tool_input, agent_id, metadata)
    await bridge.database.write(lambda transaction: record_validation(transaction, validation))
    verdict = validation.verdict
    seconds = time.perf_counter() - started
    metrics.validation_seconds.labels(validation.tier, verdict.decision.label).observe(seconds)
    if isinstance(body, m.HookRequest):
        concern = verdict.rule if verdict.decision is not Decision.APPROVE else None
        return reply(m.HookAnswer(verdict.decision.status, verdict.reason, body.id or validation.id, concern))  # type: ignore[arg-type]  # statuses are the literal's values
    details = m.VerdictDetails(
        decision=verdict.decision.label,  # type: ignore[arg-type]  # labels are the literal's values
        risk_level=verdict.risk.label,  # type: ignore[arg-type]  # labels are the literal's values
        cache_hit=cache_hit,
        expert_required=verdict.decision is Decision.REVIEW,
        rule=verdict.rule,
        rules_version=validation.rules_version,
        validation_id=validation.id,
    )
    approved = verdict.decision is Decision.APPROVE
    return reply(
        m.ToolAnswer(approved, verdict.reason, verdict.confidence, round(seconds * 1000, 3), details)
    )


async def _decide(
    bridge: Bridge, tool_name: str, tool_input: dict[str, Any], agent_id: str, metadata: dict[str, Any]
) -> tuple[Validation, bool]:
    if sum(len(value) for value in tool_input.values() if isinstance(value, str)) > _LONG_INPUT:
        decided = await asyncio.to_thread(bridge.decider.decide, tool_name, tool_input)
    else:
        decided = bridge.decider.decide(tool_name, tool_input)
    verdict, version, cache_hit = decided
    tier = "memory" if cache_hit else "review" if verdict.decision is Decision.REVIEW else "policy"
    validation = Validation(
        new_validation_id(), tool_name, tool_input, agent_id, metadata, verdict, version, tier
    )
    return validation, cache_hit


async def pending(bridge: Bridge, call: Call) -> Reply:
    """Validations that wait for review, newest first."""
    limit: int = call.query.limit

    def work(connection: sqlite3.Connection) -> list[m.PendingValidation]:
        rows = connection.execute(
            "SELECT validation_id, created_us, sequence, agent_id, tool_name, tool_input, reason, risk_level "
            "FROM pending ORDER BY sequence DESC LIMIT ?",
            (limit,),
        )
        return [
            m.PendingValidation(
                row[0], iso(row[1]), row[2], row[3], row[4], msgspec.json.decode(row[5]), row[6], row[7]
            )
            for row in rows
        ]

    found = await bridge.database.read(work)
    return reply(m.PendingAnswer(found, len(found)))


ROUTES = (
    Route(
        method="POST",
        path="/validate",
        handle=validate,
        role=Role.BUILDER,
        body=(m.ToolRequest, m.HookRequest),
        summary="Decide a tool call",
        answers={200: m.ToolAnswer | m.HookAnswer},
    ),
    Route(
        method="GET",
        path="/pending",
        handle=pending,
        role=Role.OPERATOR,
        query=m.PageQuery,
        summary="Validations that wait for review",
        answers={200: m.PendingAnswer},
    ),
)
