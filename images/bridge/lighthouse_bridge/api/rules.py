"""The rules in force, and what they say of a call that nobody makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import messages as m
from ..bounds import check_shape
from ..credentials import Role
from ..decisions.explanation import Explanation, explain
from ..exchange import reply
from ..route import Route

if TYPE_CHECKING:
    from ..bridge import Bridge
    from ..exchange import Call, Reply


async def listing(bridge: Bridge, _call: Call) -> Reply:
    """Every rule in force."""
    version, rules = bridge.decider.entries()
    return reply(m.RulesAnswer(version, rules, len(rules)))


async def explanation(bridge: Bridge, call: Call) -> Reply:
    """Judge a call by the rules and say why, part by part; nothing is recorded and nobody is asked."""
    body: m.ExplainRequest = call.body
    check_shape([body.tool_name], "The tool")
    check_shape(body.tool_input, "The tool's input")
    verdict, version, _ = await bridge.decider.decide(body.tool_name, body.tool_input)
    return reply(explain(body.tool_name, verdict, version))


ROUTES = (
    Route(
        method="GET",
        path="/rules",
        handle=listing,
        role=Role.EXPERT,
        summary="The rules in force",
        answers={200: m.RulesAnswer},
    ),
    Route(
        method="POST",
        path="/rules/explain",
        handle=explanation,
        role=Role.EXPERT,
        body=(m.ExplainRequest,),
        summary="Why a tool call would be decided as it would be",
        answers={200: Explanation},
    ),
)
