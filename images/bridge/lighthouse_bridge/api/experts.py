"""Experts register, give signs of life, take work and answer it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .. import expert_messages as m
from .. import metrics
from ..assignments import assign, complete, find_assignment
from ..bounds import check_shape
from ..clock import iso, now_us, parse_iso
from ..credentials import Role
from ..decisions.verdict import Decision
from ..endpoint import bearer
from ..escalations import answer_validation
from ..exchange import reply
from ..experts import list_experts, register_expert, renew_expert
from ..problems import Problem
from ..route import Route
from ..shared import Rate
from ..work import REDELIVER_SECONDS, fetch_work, find_item

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..escalations import Ended
    from ..exchange import Call, Reply
    from ..transactions import Transaction

REGISTRATIONS = Rate(60, 60, 10)


async def register(bridge: Bridge, call: Call) -> Reply:
    """Register the session's agent as an expert; its session token serves as the expert's token."""
    body: m.ExpertRegisterRequest = call.body
    call.require_agent(body.agent_id)
    check_shape([body.agent_type, body.capabilities, body.metadata], "The registration")
    _require_judge(call)
    await bridge.request_limits.admit_to("registrations", body.agent_id, REGISTRATIONS)
    session_id = call.session.session_id
    await bridge.database.write(
        lambda t: register_expert(
            t, body.agent_id, session_id, body.agent_type, body.capabilities, body.metadata
        )
    )
    return reply(m.ExpertRegisterAnswer(True, f"{body.agent_id} is registered.", bearer(call), body.agent_id))


async def heartbeat(bridge: Bridge, call: Call) -> Reply:
    """Keep an expert available."""
    body: m.ExpertHeartbeatRequest = call.body
    call.require_agent(body.agent_id)
    expires = await bridge.database.write(lambda t: renew_expert(t, body.agent_id))
    return reply(m.ExpertHeartbeatAnswer("available", iso(expires)))


async def listing(bridge: Bridge, _call: Call) -> Reply:
    """The experts the bridge knows."""
    experts = await bridge.database.read(lambda connection: list_experts(connection, now_us()))
    return reply(m.ExpertsAnswer(experts, len(experts)))


async def work(bridge: Bridge, call: Call) -> Reply:
    """The session's expert's next work, waited for if there is none."""
    _require_judge(call)
    agent_id, session_id = call.session.agent_id, call.session.session_id
    end = time.monotonic() + call.query.wait
    with bridge.bells.listen(agent_id) as bell:
        while True:
            item = await bridge.database.write(lambda t: fetch_work(t, agent_id, session_id))
            if item is not None:
                waited = now_us() - parse_iso(item.created_at)
                metrics.expert_wait_seconds.observe(max(0, waited) / 1_000_000)
            left = end - time.monotonic()
            if item is not None or left <= 0 or bridge.bells.closing:
                return reply(m.WorkAnswer(item))
            # No bell rings when work comes due again.
            await bridge.bells.wait(bell, min(left, REDELIVER_SECONDS))


async def answer(bridge: Bridge, call: Call) -> Reply:
    """Take an expert's judgement of a validation."""
    body: m.ExpertAnswerRequest = call.body
    _require_judge(call)
    check_shape([body.work_id, body.reasoning], "The answer")
    agent_id = call.session.agent_id

    def store(transaction: Transaction) -> tuple[str, Ended | None, str | None]:
        renew_expert(transaction, agent_id)
        status, ended = answer_validation(
            transaction, agent_id, body.work_id, body.decision, body.confidence, body.reasoning
        )
        return status, ended, find_item(transaction, body.work_id, agent_id).validation_id

    status, ended, validation_id = await bridge.database.write(store)
    if ended is not None:
        bridge.experts_ended(ended)
    return reply(m.ExpertAnswerAnswer(status, validation_id))  # type: ignore[arg-type]  # statuses are the literal's values


async def delegate(bridge: Bridge, call: Call) -> Reply:
    """Have an expert look at a tool call; one that a rule blocks is not passed on."""
    body: m.DelegateRequest = call.body
    check_shape([body.tool_name, body.target_expert], "The delegation")
    check_shape(body.tool_input, "The tool's input")
    check_shape(body.metadata, "metadata")
    if body.session_token is not None:
        named = await bridge.sessions.open(body.session_token)
        if named is None or named.session_id != call.session.session_id:
            raise Problem(403, "The body's session_token is not the token of this request.")
    verdict, _, _ = await bridge.decider.decide(body.tool_name, body.tool_input)
    if verdict.decision is Decision.BLOCK:
        raise Problem(400, f"The rule {verdict.rule!r} blocks what would be delegated: {verdict.reason}")
    payload = {
        "tool_name": body.tool_name,
        "tool_input": body.tool_input,
        "reason": verdict.reason,
        "risk_level": verdict.risk.label,
        "metadata": body.metadata,
    }
    requester = call.session.agent_id
    work_id, expert = await bridge.database.write(
        lambda t: assign(t, "delegation", body.target_expert, requester, payload)
    )
    return reply(
        m.DelegateAnswer(
            "delegated", work_id, expert, f"{expert} looks at the {body.tool_name} call.", body.tool_name
        )
    )


async def dispatch(bridge: Bridge, call: Call) -> Reply:
    """Give an expert a task."""
    body: m.DispatchRequest = call.body
    check_shape([body.target_agent, body.task_description], "The task")
    check_shape(body.metadata, "metadata")
    payload = {
        "task_description": body.task_description,
        "metadata": {**body.metadata, "priority": body.priority},
    }
    requester = call.session.agent_id
    work_id, expert = await bridge.database.write(
        lambda t: assign(t, "task", body.target_agent, requester, payload)
    )
    return reply(m.DispatchAnswer(work_id, "dispatched", f"{expert} has the task."))


async def finish(bridge: Bridge, call: Call) -> Reply:
    """End a delegation or task; its expert is available again."""
    body: m.CompleteRequest = call.body
    _require_judge(call)
    check_shape([body.work_id, body.result], "The result")
    agent_id = call.session.agent_id
    await bridge.database.write(lambda t: complete(t, body.work_id, agent_id, body.status, body.result))
    return reply(m.CompleteAnswer(True, body.work_id, body.status))


async def assignment(bridge: Bridge, call: Call) -> Reply:
    """How a delegation or task stands."""
    wanted = call.parameters["id"]
    owner = None if call.session.role is Role.OPERATOR else call.session.agent_id
    return reply(await bridge.database.read(lambda connection: find_assignment(connection, wanted, owner)))


def _require_judge(call: Call) -> None:
    if call.session.role is Role.BUILDER:
        raise Problem(
            403, "A builder's session cannot act as an expert: who runs commands must not judge them."
        )


ROUTES = (
    Route(
        method="POST",
        path="/expert/register",
        handle=register,
        role=Role.EXPERT,
        body=(m.ExpertRegisterRequest,),
        summary="Register as an expert",
        answers={200: m.ExpertRegisterAnswer},
        errors=frozenset({403}),
    ),
    Route(
        method="POST",
        path="/expert/heartbeat",
        handle=heartbeat,
        role=Role.EXPERT,
        body=(m.ExpertHeartbeatRequest,),
        summary="Stay available",
        answers={200: m.ExpertHeartbeatAnswer},
        errors=frozenset({403, 404}),
    ),
    Route(
        method="GET",
        path="/experts",
        handle=listing,
        role=Role.EXPERT,
        summary="The known experts",
        answers={200: m.ExpertsAnswer},
    ),
    Route(
        method="GET",
        path="/expert/work",
        handle=work,
        role=Role.EXPERT,
        query=m.WorkQuery,
        summary="The expert's next work, waited for up to 30 s",
        answers={200: m.WorkAnswer},
        errors=frozenset({403, 404}),
    ),
    Route(
        method="POST",
        path="/expert/answer",
        handle=answer,
        role=Role.EXPERT,
        body=(m.ExpertAnswerRequest,),
        summary="Judge a validation",
        answers={200: m.ExpertAnswerAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="POST",
        path="/expert/delegate",
        handle=delegate,
        role=Role.BUILDER,
        body=(m.DelegateRequest,),
        summary="Have an expert look at a tool call",
        answers={200: m.DelegateAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="POST",
        path="/task/dispatch",
        handle=dispatch,
        role=Role.BUILDER,
        body=(m.DispatchRequest,),
        summary="Give an expert a task",
        answers={200: m.DispatchAnswer},
        errors=frozenset({404, 409}),
    ),
    Route(
        method="POST",
        path="/expert/complete",
        handle=finish,
        role=Role.EXPERT,
        body=(m.CompleteRequest,),
        summary="End a delegation or task",
        answers={200: m.CompleteAnswer},
        errors=frozenset({403, 404, 409}),
    ),
    Route(
        method="GET",
        path="/expert/assignment/{id}",
        handle=assignment,
        role=Role.BUILDER,
        summary="How a delegation or task stands",
        answers={200: m.AssignmentAnswer},
        errors=frozenset({404}),
    ),
)
