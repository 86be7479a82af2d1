"""What the labels of the bridge's metrics say: closed sets, so that the number of series is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .breakers import TIERS as BREAKERS
from .consensus import Ruling
from .credentials import Role
from .decisions.verdict import Decision
from .endpoint import METHODS, OTHER_METHOD, UNMATCHED, WRONG_METHOD
from .events import EventType
from .metrics import LIMITS, RELOADS, SPANS, VIOLATIONS
from .routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_DECISIONS = tuple(decision.label for decision in Decision)
_ROLES = tuple(role.label for role in Role)
_ROUTES = (*sorted({route.path for route in ROUTES}), UNMATCHED, WRONG_METHOD)
# Those that routes answer, and those of requests that reach none or fail within.
_CODES = tuple(
    str(code)
    for code in sorted({status for route in ROUTES for status in route.statuses} | {404, 405, 500, 503})
)

LABELS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lighthouse_bridge_validation_duration_seconds": {
        "tier": ("memory", "policy", "pattern", "review", "expert", "human", "expired"),
        "decision": _DECISIONS,
    },
    "lighthouse_bridge_cache_lookups_total": {"result": ("hit", "miss")},
    "lighthouse_bridge_rules_reloads_total": {"result": RELOADS},
    "lighthouse_bridge_events_appended_total": {"event_type": tuple(EventType)},
    "lighthouse_bridge_sessions_created_total": {"role": _ROLES},
    "lighthouse_bridge_sessions": {"role": _ROLES},
    "lighthouse_bridge_http_requests_total": {
        "method": (*sorted(METHODS), OTHER_METHOD),
        "route": _ROUTES,
        "code": _CODES,
    },
    "lighthouse_bridge_http_request_duration_seconds": {"route": _ROUTES},
    "lighthouse_bridge_requests_limited_total": {"limit": LIMITS},
    "lighthouse_bridge_security_violations_total": {"kind": VIOLATIONS},
    "lighthouse_bridge_expert_answers_total": {
        "decision": ("approve", "deny", "abstain", "completed", "failed"),
    },
    "lighthouse_bridge_escalations_ended_total": {
        "tier": ("expert", "human", "expired"),
        "decision": (Decision.APPROVE.label, Decision.BLOCK.label),
    },
    "lighthouse_bridge_expert_consensus_duration_seconds": {
        "decision": tuple(ruling.value for ruling in Ruling),
    },
    "lighthouse_bridge_tier_duration_seconds": {"tier": ("policy", "rego", "pattern")},
    "lighthouse_bridge_tier_failures_total": {"tier": BREAKERS},
    "lighthouse_bridge_tier_circuit_open": {"tier": BREAKERS},
    "lighthouse_bridge_trace_spans_total": {"result": SPANS},
}
"""The values of each label of each metric that has labels."""
