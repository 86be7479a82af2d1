"""Experts: who is there, what they are asked, how long it takes, and what agents do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models import units

from ci.monitoring.dashboards.panels import (
    AGENTS,
    BRIDGE,
    dashboard,
    graph,
    over,
    part,
    quantile,
    rate,
    row,
    under,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.dashboard import Dashboard

CONSENSUS = "lighthouse_bridge_expert_consensus_duration_seconds"
ENDED = "lighthouse_bridge_escalations_ended_total"


def board() -> Dashboard:
    """The dashboard."""
    made = dashboard("experts", "Experts", "Who is there, what they are asked, and how long it takes.")
    row(
        made,
        "As the bridges see it",
        graph(
            "Experts heard of",
            "In the last ten minutes. Dashed: the threshold of ExpertsMissing.",
            units.Short,
            {"experts": f"max(lighthouse_bridge_experts{{{BRIDGE}}})"},
            limit=under("expertsMissing"),
        ),
        graph(
            "Validations that wait",
            "For experts or people. Dashed: the threshold of ExpertQueueLong.",
            units.Short,
            {"waiting": f"max(lighthouse_bridge_pending_validations{{{BRIDGE}}})"},
            limit=over("expertQueueLong"),
        ),
        graph(
            "Time until work is taken up",
            "95 of 100 pieces of work wait no longer. Dashed: the threshold of ExpertQueueOld.",
            units.Seconds,
            {"95 of 100": quantile(0.95, "lighthouse_bridge_expert_work_wait_duration_seconds", BRIDGE)},
            limit=over("expertQueueOld"),
        ),
        graph(
            "Answers",
            "Answers of experts a second, beside how many experts were asked.",
            units.OpsPerSecond,
            {
                "{{decision}}": rate("lighthouse_bridge_expert_answers_total", BRIDGE, by="decision"),
                "asked": rate("lighthouse_bridge_experts_asked_total", BRIDGE),
            },
        ),
        graph(
            "Time until experts decide",
            "95 of 100 take no longer, by what came of it.",
            units.Seconds,
            {"{{decision}}": quantile(0.95, CONSENSUS, BRIDGE, by="decision")},
        ),
        graph(
            "Asked without a decision",
            "The share of validations that experts leave undecided. Dashed: the threshold of ConsensusFailing.",
            units.PercentUnit,
            {"undecided": part(f"{CONSENSUS}_count", 'decision="none"', BRIDGE)},
            limit=over("consensusFailing"),
            top=1,
        ),
        graph(
            "Who ended what no rule decided",
            "Validations a second, by who ended them and how.",
            units.OpsPerSecond,
            {"{{tier}}: {{decision}}": rate(ENDED, BRIDGE, by="tier, decision")},
            span=12,
        ),
        graph(
            "Denied because nobody decided",
            "In half an hour. Dashed: the threshold of ReviewsExpiring.",
            units.Short,
            {"expired": f'sum(increase({ENDED}{{{BRIDGE},tier="expired"}}[30m]))'},
            limit=over("reviewsExpiring"),
            span=12,
        ),
    )
    row(
        made,
        "As the agents see it",
        graph(
            "Agents without registration",
            "Agents that run and are not registered. Dashed: the threshold of AgentsUnregistered.",
            units.Short,
            {"unregistered": f"count(lighthouse_agents_registered{{{AGENTS}}} == 0) or vector(0)"},
            limit=over("agentsUnregistered"),
        ),
        graph(
            "Judgements by answer",
            "Judgements a second of all agents.",
            units.OpsPerSecond,
            {"{{answer}}": rate("lighthouse_agents_judgements_total", AGENTS, by="answer")},
        ),
        graph(
            "Time of judgements",
            "95 of 100 judgements of an agent take no longer.",
            units.Seconds,
            {"{{pod}}": quantile(0.95, "lighthouse_agents_judgement_seconds", AGENTS, by="pod")},
        ),
        graph(
            "Time of requests to the bridge",
            "95 of 100 take no longer, by route.",
            units.Seconds,
            {"{{route}}": quantile(0.95, "lighthouse_agents_bridge_request_seconds", AGENTS, by="route")},
        ),
        graph(
            "Heartbeats",
            "Heartbeats a second, by outcome.",
            units.OpsPerSecond,
            {"{{outcome}}": rate("lighthouse_agents_heartbeats_total", AGENTS, by="outcome")},
        ),
        graph(
            "Registrations",
            "In an hour, for each agent; many mean that sessions are lost.",
            units.Short,
            {"{{pod}}": f"increase(lighthouse_agents_registrations_total{{{AGENTS}}}[1h])"},
        ),
    )
    return made
