"""Validations: a tool call is decided, recorded, and only then answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from .. import messages as m
from .. import metrics, tracing
from ..approvals import decide_by_person, list_approvals, revoke_approval, undecided
from ..bounds import check_shape
from ..clock import iso, now_us
from ..credentials import Role
from ..decider import command_hash
from ..decisions.verdict import Decision, Risk
from ..escalations import find_escalation, list_votes
from ..exchange import reply
from ..problems import Problem
from ..route import Route
from ..validations import Outcome, Validation, new_validation_id, record_validation, revisit_validation

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply
    from ..transactions import Connection


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
    validation, cache_hit = await _judge(bridge, tool_name, tool_input, agent_id, metadata)
    review = validation.verdict.decision is Decision.REVIEW
    limits = bridge.limits(experts=bridge.expert_breaker.allows())
    outcome = await bridge.database.write(lambda t: record_validation(t, validation, limits))
    if outcome.stage != "decided":
        with tracing.span(f"wait for {'experts' if outcome.stage == 'experts' else 'a person'}"):
            outcome = await _wait(bridge, validation, outcome, body.wait_seconds)
    elif review:
        cache_hit = True
    tracing.note(
        lighthouse__tool_name=tool_name,
        lighthouse__decision=outcome.decision.label,
        lighthouse__tier=outcome.tier,
        lighthouse__rule=validation.verdict.rule,
        lighthouse__rules_version=validation.rules_version,
        lighthouse__validation_id=outcome.validation_id,
    )
    seconds = time.perf_counter() - started
    metrics.child(metrics.validation_seconds, outcome.tier, outcome.decision.label).observe(seconds)
    return _answer(body, validation, outcome, cache_hit=cache_hit, seconds=seconds)


async def _judge(
    bridge: Bridge, tool_name: str, tool_input: dict[str, Any], agent_id: str, metadata: dict[str, Any]
) -> tuple[Validation, bool]:
    verdict, version, cache_hit = await bridge.decider.decide(tool_name, tool_input)
    tier = "memory" if cache_hit else verdict.tier
    validation = Validation(
        id=new_validation_id(),
        tool_name=tool_name,
        tool_input=tool_input,
        agent_id=agent_id,
        metadata=metadata,
        verdict=verdict,
        rules_version=version,
        tier="review" if verdict.decision is Decision.REVIEW else tier,
        shape=command_hash(tool_name, tool_input),
    )
    return validation, cache_hit


async def _wait(bridge: Bridge, validation: Validation, outcome: Outcome, wanted: float | None) -> Outcome:
    """The decision if it comes in time, else what is still missing; for a person waits only who says so."""
    seconds = bridge.settings.validation_wait_seconds if wanted is None else wanted
    end = time.monotonic() + seconds
    waited_for = outcome.validation_id
    with bridge.bells.listen(waited_for) as bell:
        while outcome.stage == "experts" or (wanted and outcome.stage == "human"):
            escalation = await bridge.database.read(lambda c: find_escalation(c, waited_for))
            if escalation is not None and escalation.stage == outcome.stage:
                left = end - time.monotonic()
                if left <= 0 or bridge.bells.closing:
                    break
                await bridge.bells.wait(bell, left)
                continue
            outcome = await bridge.database.write(lambda t: revisit_validation(t, validation, waited_for))
    if outcome.stage == "decided" and bridge.decider.version != validation.rules_version:
        return Outcome(
            Decision.REVIEW, "The rules changed meanwhile; ask again.", 0.3, "review", waited_for, "human"
        )
    if outcome.stage == "experts":
        return msgspec.structs.replace(
            outcome, reason=f"{outcome.reason} Experts were asked and have not decided yet; ask again."
        )
    return outcome


def _answer(
    body: m.ToolRequest | m.HookRequest,
    validation: Validation,
    outcome: Outcome,
    *,
    cache_hit: bool,
    seconds: float,
) -> Reply:
    verdict = validation.verdict
    approved = outcome.decision is Decision.APPROVE
    if isinstance(body, m.HookRequest):
        concern = None if approved else verdict.rule
        short = m.HookAnswer(
            status=outcome.decision.status,  # type: ignore[arg-type]  # statuses are the literal's values
            reason=outcome.reason,
            id=body.id or outcome.validation_id,
            rule=verdict.rule,
            rules_version=validation.rules_version,
            concern=concern,
        )
        return reply(short)
    details = m.VerdictDetails(
        decision=outcome.decision.label,  # type: ignore[arg-type]  # labels are the literal's values
        risk_level=verdict.risk.label,  # type: ignore[arg-type]  # labels are the literal's values
        cache_hit=cache_hit,
        expert_required=verdict.decision is Decision.REVIEW,
        rule=verdict.rule,
        layer=verdict.layer,
        rules_version=validation.rules_version,
        validation_id=outcome.validation_id,
    )
    return reply(
        m.ToolAnswer(approved, outcome.reason, outcome.confidence, round(seconds * 1000, 3), details)
    )


async def pending(bridge: Bridge, call: Call) -> Reply:
    """Validations that wait for experts or people, newest first."""
    limit: int = call.query.limit

    def work(connection: Connection) -> list[m.PendingValidation]:
        rows = connection.execute(
            "SELECT validation_id, created_us, sequence, agent_id, tool_name, tool_input, reason, risk, stage, "
            "expires_us FROM escalations WHERE stage <> 'decided' ORDER BY sequence DESC LIMIT ?",
            (limit,),
        )
        return [_shown(connection, row) for row in rows]

    found = await bridge.database.read(work)
    return reply(m.PendingAnswer(found, len(found)))


def _shown(connection: Connection, row: tuple[Any, ...]) -> m.PendingValidation:
    votes, _, reasons = list_votes(connection, row[0])
    return m.PendingValidation(
        id=row[0],
        created_at=iso(row[1]),
        sequence=row[2],
        agent_id=row[3],
        tool_name=row[4],
        tool_input=msgspec.json.decode(row[5]),
        reason=row[6],
        risk_level=Risk(row[7]).label,
        stage=row[8],
        expires_at=iso(row[9]),
        responses=[
            m.ExpertResponse(
                vote.expert_id,
                vote.agent_type,
                vote.decision,  # type: ignore[arg-type]  # decisions are the literal's values
                vote.confidence,
                reasons[vote.expert_id],
            )
            for vote in votes
        ],
    )


async def approve(bridge: Bridge, call: Call) -> Reply:
    """A person decides a validation; a rule's refusal stands above it."""
    body: m.ApproveRequest = call.body
    check_shape([body.id, body.reason], "The decision")
    person = call.session.agent_id
    escalation = await bridge.database.write(lambda transaction: undecided(transaction, body.id))
    if body.status == "approved":
        tool_input = msgspec.json.decode(escalation.tool_input)
        verdict, version, _ = await bridge.decider.decide(escalation.tool_name, tool_input)
        # What the classifier refuses is likely, not certain: a person who looked knows better.
        if verdict.decision is Decision.BLOCK and verdict.tier != "pattern":
            raise Problem(
                409,
                f"The rule {verdict.rule!r} of version {version} blocks this call and nobody can approve it: "
                f"{verdict.reason}",
            )
    expires = await bridge.database.write(
        lambda transaction: decide_by_person(
            transaction, body.id, person, body.status, body.reason, body.remember, body.expires_in
        )
    )
    metrics.escalations_ended.labels("human", body.status).inc()
    return reply(m.ApproveAnswer(True, body.id, body.status, person, iso(expires)))


async def approvals(bridge: Bridge, call: Call) -> Reply:
    """What people decided in advance and still holds."""
    limit: int = call.query.limit
    found = await bridge.database.read(lambda connection: list_approvals(connection, now_us(), limit))
    return reply(m.ApprovalsAnswer(found, len(found)))


async def revoke(bridge: Bridge, call: Call) -> Reply:
    """Take back what a person decided in advance."""
    body: m.RevokeRequest = call.body
    check_shape([body.approval_id, body.reason], "The revocation")
    person = call.session.agent_id
    await bridge.database.write(lambda t: revoke_approval(t, body.approval_id, person, body.reason))
    return reply(m.RevokeAnswer(True, body.approval_id))


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
        summary="Validations that wait for experts or people",
        answers={200: m.PendingAnswer},
    ),
    Route(
        method="POST",
        path="/approve",
        handle=approve,
        role=Role.OPERATOR,
        body=(m.ApproveRequest,),
        summary="Decide a validation that waits",
        answers={200: m.ApproveAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="GET",
        path="/approvals",
        handle=approvals,
        role=Role.OPERATOR,
        query=m.PageQuery,
        summary="Decisions of people that hold in advance",
        answers={200: m.ApprovalsAnswer},
    ),
    Route(
        method="POST",
        path="/approvals/revoke",
        handle=revoke,
        role=Role.OPERATOR,
        body=(m.RevokeRequest,),
        summary="Take back a decision that holds in advance",
        answers={200: m.RevokeAnswer},
        errors=frozenset({404}),
    ),
)
