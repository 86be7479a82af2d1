"""What a bridge exposes is what docs/metrics.md says, however it is asked, and it stays bounded."""

import secrets
from collections.abc import Callable

from ci.monitoring.page import bound
from ci.monitoring.processes import process
from tests.images.bridge.experts import Expert, always, working
from tests.images.bridge.support import Agent, Bridge

SCRAPED = process("bridge")


def scrape(bridge: Bridge) -> str:
    """The bridge's metrics."""
    return bridge.http.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text


def series(text: str) -> set[str]:
    """The time series of a scrape, without their values."""
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def strange(agent: Agent) -> None:
    """Requests with names of their own in every place that a client fills."""
    name = secrets.token_hex(8)
    http = agent.bridge.http
    http.get(f"/{name}")
    http.request(name.upper(), "/validate")
    http.get("/validate")
    http.get("/health", headers={"X-Request-Id": name})
    http.post("/session/create", json={"agent_id": name}, headers={"Authorization": f"Bearer {name * 4}"})
    agent.get(f"/shadow/read/{name}")
    agent.post("/event/store", {"event_type": name, "agent_id": agent.agent_id})
    agent.post("/event/store", {"event_type": "custom", "aggregate_id": name, "agent_id": agent.agent_id})
    agent.validate(f"./tools/{name}.sh")
    agent.validate(f"echo {name}")
    agent.bridge.join("builder", name)


def test_a_fresh_bridge_and_one_that_was_used_expose_exactly_what_is_documented(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge()
    assert SCRAPED.departures(scrape(own)) == []
    builder, judge = own.join("builder"), Expert(own, "judge")
    for command in ("git status", "git status", "sudo rm -rf /"):
        builder.validate(command)
    with working(judge, always("approve")):
        assert builder.validate("./tools/unknown.sh")["approved"]
    strange(builder)
    text = scrape(own)
    assert SCRAPED.departures(text) == []
    for name in (
        'lighthouse_bridge_validation_duration_seconds_bucket{decision="approved",le="0.1",tier="expert"}',
        'lighthouse_bridge_validation_duration_seconds_bucket{decision="blocked",le="0.1",tier="policy"}',
        'lighthouse_bridge_cache_lookups_total{result="hit"}',
        "lighthouse_bridge_expert_work_wait_duration_seconds_count 1.0",
    ):
        assert name in text


def test_what_counts_faults_is_there_before_the_first(start_bridge: Callable[..., Bridge]) -> None:
    """Of a series that begins with its first fault no rate tells that there was one."""
    text = scrape(start_bridge())
    for name in (
        'requests_limited_total{limit="agent"}',
        'requests_limited_total{limit="total"}',
        'tier_failures_total{tier="pattern"}',
        'escalations_ended_total{decision="blocked",tier="expired"}',
        'expert_consensus_duration_seconds_count{decision="none"}',
        'rules_reloads_total{result="failed"}',
        'sessions_created_total{role="operator"}',
        'http_requests_total{code="500",method="POST",route="/validate"}',
        'http_requests_total{code="503",method="POST",route="/validate"}',
    ):
        assert f"lighthouse_bridge_{name} 0.0" in text, name


def test_no_client_makes_the_number_of_series_grow(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge(LIGHTHOUSE_AGENT_PER_MINUTE="0")
    builder = own.join("builder")
    for _ in range(3):
        strange(builder)
    before = series(scrape(own))
    for _ in range(20):
        strange(builder)
    assert series(scrape(own)) == before
    assert len(before) <= bound(SCRAPED)


def test_an_escalation_that_nobody_decides_is_counted_as_expired(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge(LIGHTHOUSE_REVIEW_SECONDS="1", LIGHTHOUSE_EXPERT_SECONDS="0.1")
    own.join("builder").validate("./tools/unknown.sh")
    ended = 'lighthouse_bridge_escalations_ended_total{decision="blocked",tier="expired"} 1.0'
    own.wait_for(lambda: ended in scrape(own))
