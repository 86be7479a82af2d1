"""What an agent exposes is what docs/metrics.md says."""

from pathlib import Path

from ci.monitoring.processes import process
from tests.images.agent.agents import agent
from tests.images.agent.support import Bridge, get, wait_for


def test_a_working_agent_exposes_exactly_what_is_documented(bridge: Bridge, tmp_path: Path) -> None:
    with agent(tmp_path, bridge.url, bridge.key_file("expert")) as expert:
        expert.wait_ready()
        wait_for("heartbeats", lambda: expert.metric("lighthouse_agents_heartbeats_total", outcome="ok") > 1)
        text = get(f"http://127.0.0.1:{expert.port}/metrics")[1].decode()
        assert process("agents").departures(text) == []
        route = 'lighthouse_agents_bridge_request_seconds_count{route="POST /expert"}'
        assert route in text


def test_an_agent_without_a_bridge_exposes_the_same(tmp_path: Path, stopped_bridge: Bridge) -> None:
    with agent(tmp_path, stopped_bridge.url, stopped_bridge.key_file("expert")) as expert:
        wait_for("a probe", lambda: expert.ready()[0] == 503)
        text = get(f"http://127.0.0.1:{expert.port}/metrics")[1].decode()
        assert process("agents").departures(text) == []
