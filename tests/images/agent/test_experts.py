"""Expert agents at work: real processes take a real bridge's escalations, read the context, and answer."""

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lighthouse_agent.errors import SettingsError
from lighthouse_agent.rules import load_rules
from lighthouse_agent.settings import DEFAULT_RULES
from lighthouse_bridge.credentials import own_key
from tests.images.agent.agents import Agent, agent
from tests.images.agent.hooks import assert_blocked, hook
from tests.images.agent.support import KEYS, REPOSITORY, Bridge, RawServer, answer, get, post, wait_for

pytestmark = pytest.mark.heavy  # processes that wait for each other, and for time limits

PATHS = os.pathsep.join(
    str(path) for path in (REPOSITORY / "images" / "agent", REPOSITORY / "images" / "bridge", REPOSITORY)
)
JUDGES = "tests.images.agent.judges"


class Project:
    """A running bridge, and a folder that shows its context packages as the mount does."""

    def __init__(self, bridge: Bridge, folder: Path) -> None:
        self.bridge, self.folder = bridge, folder
        self.mount = folder / "mount"
        (self.mount / "current").mkdir(parents=True)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show)
        self._thread.start()
        self.builder = bridge.session("builder", "builder-1")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def expert(
        self, name: str, agent_type: str = "security", judge: str = "", **extra: str
    ) -> Iterator[Agent]:
        """A ready expert agent."""
        settings = {
            "LIGHTHOUSE_AGENT_ID": name,
            "LIGHTHOUSE_AGENT_TYPE": agent_type,
            "LIGHTHOUSE_MOUNT": str(self.mount),
            "PYTHONPATH": PATHS,
            **extra,
        }
        if judge:
            settings["LIGHTHOUSE_EXPERT_JUDGE"] = judge if ":" in judge else f"{JUDGES}:{judge}"
        folder = self.folder / name
        folder.mkdir()
        key = folder / "own-key"
        key.write_text(own_key(KEYS["expert"], name))
        with agent(folder, self.bridge.url, key, **settings) as running:
            running.wait_ready()
            yield running

    def validate(self, command: str, wait: float = 10) -> dict[str, Any]:
        """The bridge's answer to a command of a builder."""
        body = {
            "tool_name": "Bash",
            "tool_input": {"command": command},
            "agent_id": "builder-1",
            "wait_seconds": wait,
        }
        return post(self.bridge.url + "/validate", body, self.builder, timeout=40)

    def decision(self, command: str, wait: float = 10) -> str:
        """The decision on a command."""
        return str(self.validate(command, wait)["metadata"]["decision"])

    def pending(self) -> list[dict[str, Any]]:
        return list(self.bridge.ask("/pending")["pending"])

    def _show(self) -> None:
        headers = {"Authorization": f"Bearer {self.bridge.session('expert', 'mount')}"}
        while not self._stop.wait(0.05):
            status, body = get(self.bridge.url + "/context", headers)
            for package in json.loads(body)["packages"] if status == 200 else []:
                folder = self.mount / "context" / package["id"]
                if not folder.exists():
                    status, body = get(f"{self.bridge.url}/context/{package['id']}", headers)
                    folder.mkdir(parents=True)
                    for name, part in json.loads(body).items():
                        draft = folder / f".{name}"
                        draft.write_text(json.dumps(part))
                        draft.rename(folder / f"{name}.json")


@pytest.fixture
def project(stopped_bridge: Bridge, tmp_path: Path) -> Iterator[Project]:
    """A bridge of this test's own whose experts have 4 s."""
    stopped_bridge.extra["LIGHTHOUSE_EXPERT_SECONDS"] = "4"
    with stopped_bridge.running():
        shown = Project(stopped_bridge, tmp_path)
        try:
            yield shown
        finally:
            shown.close()


def test_the_reference_expert_judges_by_its_rules(project: Project) -> None:
    update = {"operation": "create", "file_path": "requirements.txt", "content": "x", "agent_id": "builder-1"}
    post(project.bridge.url + "/shadow/update", update, project.builder)
    with project.expert("security-1") as running:
        answer = project.validate("npm ci")
        assert answer["approved"] is True, answer
        assert "security-1" in answer["reasoning"]
        assert "lock file" in answer["reasoning"]
        assert project.decision("pip install --require-hashes -r requirements.txt") == "approved"
        assert project.decision("git log --format='%H' | xargs rm") == "blocked"
        assert project.decision("frobnicate ~/.ssh/id_rsa") == "blocked"
        for unknown in (
            "frobnicate --all",
            "pip install --require-hashes -r elsewhere.txt",
            "npm ci; frobnicate",
        ):
            assert project.decision(unknown, 1) == "escalate", unknown
        assert running.metric("lighthouse_agents_judgements_total", answer="approve") == 2
        assert running.metric("lighthouse_agents_judgements_total", answer="deny") == 2
        assert running.metric("lighthouse_agents_judgements_total", answer="abstain") == 3
        assert running.stop() < 3


def test_the_hook_waits_for_an_expert(project: Project, env: dict[str, str]) -> None:
    settings = {**env, "LIGHTHOUSE_BRIDGE_URL": project.bridge.url, "LIGHTHOUSE_AGENT_ID": "builder-2"}
    call = {"tool_name": "Bash", "tool_input": {"command": "npm ci"}}
    assert_blocked(hook(settings, call), "No expert is available")
    with project.expert("security-1"):
        call = {"tool_name": "Bash", "tool_input": {"command": "npm ci --no-audit"}}
        assert hook(settings, call) == (0, "")


def test_two_malicious_of_five_agents_get_nothing_dangerous_through(project: Project) -> None:
    kinds = ("security", "architecture", "performance")
    with ExitStack() as stack:
        for n, kind in enumerate(kinds):
            stack.enter_context(project.expert(f"honest-{n}", kind))
        for n, kind in enumerate(("security", "architecture")):
            stack.enter_context(project.expert(f"liar-{n}", kind, "make_liar"))
        assert project.decision("sudo rm -rf /") == "blocked"
        before = project.bridge.ask("/event/query?event_type=expert_agent_summoned&limit=1000")["count"]
        assert before == 0
        for n in range(8):
            for command in (f"npm publish --tag v{n}", f"frobnicate ~/.ssh/{n}"):
                assert project.validate(command, 1)["approved"] is False, command
        responded = project.bridge.ask("/event/query?event_type=expert_agent_responded&limit=1000")
        assert {event["agent_id"] for event in responded["events"]} == {
            *(f"honest-{n}" for n in range(3)),
            *(f"liar-{n}" for n in range(2)),
        }


def test_an_agent_that_is_killed_at_work_holds_nobody_up(project: Project) -> None:
    with project.expert("dying", "a", "make_slow") as dying, project.expert("sound", "b") as _sound:
        results: list[str] = []
        asked = threading.Thread(target=lambda: results.append(project.decision("npm ci", 3.9)))
        asked.start()
        wait_for("work at the dying agent", lambda: bool(project.pending()))
        dying.process.send_signal(signal.SIGKILL)
        asked.join()
        assert results == ["escalate"], "one answer of two is no consensus"
    wait_for("the end of the experts' time", lambda: project.pending()[0]["stage"] == "human")
    assert [item["expert_id"] for item in project.pending()[0]["responses"]] == ["sound"]


def test_a_slow_agent_answers_the_next_call(project: Project) -> None:
    with project.expert("slow", judge="make_slow"):
        assert project.decision("frobnicate", 0.3) == "escalate"
        wait_for("the late answer", lambda: not project.pending())
        assert project.decision("frobnicate", 0) == "approved"


def test_a_broken_judge_and_a_missing_context_abstain(project: Project) -> None:
    with project.expert("broken", judge="make_broken"):
        assert "abstained" in project.validate("frobnicate", 3)["reasoning"]
    empty = project.folder / "empty"
    (empty / "current").mkdir(parents=True)
    with project.expert("blind", LIGHTHOUSE_MOUNT=str(empty)):
        started = time.monotonic()
        wait_for("an abstention", lambda: project.decision("npm ci", 3.9) == "escalate")
        assert time.monotonic() - started < 8
    reasons = [response["reasoning"] for item in project.pending() for response in item["responses"]]
    assert any("cannot be read" in reason for reason in reasons), reasons


def test_agents_take_up_work_again_when_the_bridge_was_away(stopped_bridge: Bridge, tmp_path: Path) -> None:
    with ExitStack() as stack:
        with stopped_bridge.running():
            first = Project(stopped_bridge, tmp_path)
            stack.callback(first.close)
            running = stack.enter_context(first.expert("security-1", judge="make_slow"))
            assert first.decision("frobnicate", 0) == "escalate"
        running.wait_ready(503)
        with stopped_bridge.running():
            running.wait_ready()
            wait_for("the answer", lambda: first.decision("frobnicate", 0) == "approved")


def test_the_documented_model_judge_works(
    project: Project, raw_server: Callable[[Any], RawServer], tmp_path: Path
) -> None:
    text = (REPOSITORY / "docs" / "experts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "model_judge.py").write_text(code)
    opinion = {"decision": "approve", "confidence": 0.95, "reasoning": "The model is sure."}
    model = raw_server({"/": answer(200, opinion)})
    extra = {"PYTHONPATH": f"{PATHS}{os.pathsep}{tmp_path}", "MODEL_URL": f"{model.url}/"}
    with project.expert("model-1", judge="model_judge:make_judge", **extra):
        decided = project.validate("frobnicate --with-care")
    assert decided["approved"] is True
    assert "The model is sure" in decided["reasoning"]


@pytest.mark.parametrize(
    "text",
    ["[[rule]]\nid = 1", '[[rule]]\nid="a"\ndecision="maybe"\npart="x"\nreason="y"', "[[rule", "x = 1"],
)
def test_unusable_expert_rules_are_named(tmp_path: Path, text: str) -> None:
    assert load_rules(DEFAULT_RULES)
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"rules\.toml cannot be used"):
        load_rules(path)


def test_an_unknown_judge_ends_the_start(tmp_path: Path) -> None:
    unknown = {"LIGHTHOUSE_EXPERT_JUDGE": "nowhere:make"}
    with agent(tmp_path, "http://127.0.0.1:9", tmp_path / "key", **unknown) as running:
        assert running.process.wait(10) == 1
        assert "LIGHTHOUSE_EXPERT_JUDGE 'nowhere:make' cannot be loaded" in running.log.read_text()
