"""Three bridges on the cluster, with a plain PostgreSQL and a plain Redis, act as one while they are killed and updated."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import httpx
import pytest

from ci.release import bridge_service, install, role_key, service_url, uninstall
from ci.settings import NAMESPACE as FIRST
from ci.settings import RELEASE
from tests.images.bridge.event_load import Load, Session
from tests.live import stores
from tests.live.support import PROJECT, Container, component, eventually, pods, signal_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ci.release import Cluster

pytestmark = [pytest.mark.live, pytest.mark.replicas]

NAMESPACE = "replicas"
BRIDGES = component("bridge")
KILLS = 20
ENDED_SECONDS = 1.0
VISIBLE_SECONDS = 10.0
# Prints status and body of a request to the bridge of the pod it runs in.
REQUEST = """
import http.client, sys
method, path, token, body = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", 8765, timeout=20)
headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
connection.request(method, path, body or None, headers)
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


@dataclass(frozen=True)
class Address:
    """A bridge, or all of them behind their Service."""

    url: str


@dataclass
class Site:
    """The release under test."""

    cluster: Cluster
    values: dict[str, Any]
    values_file: Path
    service: Address
    keys: dict[str, str]

    def apply(self) -> None:
        """Install or upgrade the release and wait until all of it is ready."""
        self.values_file.write_text(json.dumps(self.values))
        install(self.cluster, RELEASE, NAMESPACE, ["--values", str(self.values_file)])

    def bridges(self) -> list[dict[str, Any]]:
        """The bridges' pods."""
        return pods(self.cluster, NAMESPACE, BRIDGES)

    def kill(self, bridge: str) -> None:
        """End a bridge at once and make its pod anew, so that kubelet does not wait longer and longer to restart it."""
        signal_all(Container(self.cluster, NAMESPACE, bridge, "bridge").pids(), signal.SIGKILL)
        self.cluster.kubectl(
            "delete", "pod", bridge, "-n", NAMESPACE, "--force", "--grace-period=0", "--wait=false"
        )

    def join(self, role: str, where: Address) -> Session:
        """A session made on one bridge."""
        name = f"{role}-{random.randrange(10**9)}"  # noqa: S311 - a name
        headers = {"Authorization": f"Bearer {self.keys[role]}"}
        answer = httpx.post(
            where.url + "/session/create", json={"agent_id": name}, headers=headers, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return Session(where, name, answer.json()["session_token"])

    def ready(self) -> bool:
        """Whether as many bridges as wanted are ready."""
        status = self.cluster.get("deployment", "lighthouse-bridge", "--namespace", NAMESPACE)["status"]
        return bool(status.get("readyReplicas", 0) == self.values["bridge"]["replicas"])


@pytest.fixture(scope="module")
def site(
    cluster: Cluster, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A release of three bridges beside the first, with both stores in a namespace of their own."""
    image = request.config.getoption("--stores-image")
    assert image, "run 'make test-replicas', which builds the image with PostgreSQL and Redis"
    folder = tmp_path_factory.mktemp("replicas")
    names = [NAMESPACE, stores.NAMESPACE]
    cluster.kubectl("delete", "namespace", *names, "--ignore-not-found", "--wait")
    cluster.kubectl("create", "namespace", NAMESPACE)
    objects = stores.store_objects(image, folder / "pki", NAMESPACE)
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
    cluster.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    for name in stores.PORTS:
        cluster.kubectl("rollout", "status", f"deployment/{name}", "-n", stores.NAMESPACE, "--timeout=120s")
    values: dict[str, Any] = json.loads(cluster.helm("get", "values", RELEASE, "-n", FIRST, "-o", "json"))
    # Its agents are mounted by the first release's driver.
    values["fuse-csi"] = {"enabled": False}
    values["agents"] = {**values.get("agents", {}), "experts": {"architecture": None}}
    wanted = stores.bridge_values(3)
    for name, more in wanted.items():
        values[name] = {**values.get(name, {}), **more}
    made = Site(cluster, values, folder / "values.json", Address(""), {})
    made.apply()
    made.service = Address(service_url(bridge_service(cluster, RELEASE, NAMESPACE)))
    for role in ("builder", "expert", "operator"):
        with role_key(cluster, RELEASE, NAMESPACE, role) as key:
            made.keys[role] = key.read_text().strip()
    yield made
    uninstall(cluster, RELEASE, NAMESPACE)
    cluster.kubectl("delete", "namespace", *names, "--wait")


def request(site: Site, pod: str, method: str, path: str, token: str, body: str = "") -> tuple[int, str]:
    """What one bridge answers to a request from its own pod: the machine reaches Services, and no single pod."""
    bridge = Container(site.cluster, NAMESPACE, pod, "bridge")
    status, _, text = bridge.python(REQUEST, method, path, token, body).partition(" ")
    return int(status), text


def test_the_tables_are_there_before_any_bridge_and_the_job_is_gone(site: Site) -> None:
    whose = "involvedObject.kind=Job,involvedObject.name=lighthouse-migration,reason=Completed"
    done = site.cluster.get("events", "--namespace", NAMESPACE, "--field-selector", whose)["items"]
    assert done, "no migration ended well"
    assert done[0]["lastTimestamp"] <= min(pod["metadata"]["creationTimestamp"] for pod in site.bridges())
    left = site.cluster.get("jobs,serviceaccounts", "--namespace", NAMESPACE)["items"]
    assert "lighthouse-migration" not in [item["metadata"]["name"] for item in left]


@pytest.mark.proves(17, level="running")
def test_a_session_made_on_one_bridge_works_on_all_and_ends_on_all(site: Site) -> None:
    bridges = [pod["metadata"]["name"] for pod in site.bridges()]
    assert len(bridges) == 3
    join = json.dumps({"agent_id": "anywhere"})
    status, text = request(site, bridges[0], "POST", "/session/create", site.keys["builder"], join)
    assert status == 200, text
    token = json.loads(text)["session_token"]
    assert [request(site, pod, "GET", "/experts", token)[0] for pod in bridges] == [200] * 3
    assert request(site, bridges[1], "POST", "/session/end", token, "{}")[0] == 200
    time.sleep(ENDED_SECONDS)
    assert [request(site, pod, "GET", "/experts", token)[0] for pod in bridges] == [401] * 3


@pytest.mark.proves(17, level="survives")
def test_bridges_killed_at_random_lose_and_double_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = site.join("builder", site.service), site.join("expert", site.service)
    load = Load([site.service], writer, reader)
    load.begin()
    for _ in range(KILLS):
        time.sleep(random.uniform(0.2, 1.5))  # noqa: S311 - any moment
        victim = random.choice(site.bridges())["metadata"]["name"]  # noqa: S311 - any bridge
        site.kill(victim)
        eventually(site.ready, 120, "three bridges ready again")
    before = len(load.acknowledged)
    eventually(lambda: len(load.acknowledged) > before + 10, 60, "events acknowledged after the last kill")
    told = load.finish()
    with capsys.disabled():
        print(f"\n{KILLS} bridges killed: {told}")


@pytest.mark.proves(18, level="survives")
def test_an_agents_files_follow_changes_and_events_while_each_bridge_is_killed(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pod,) = pods(site.cluster, f"{NAMESPACE}-agents", component("agents"))
    agent = Container(site.cluster, f"{NAMESPACE}-agents", pod["metadata"]["name"], "agent")
    stream, output = f"{PROJECT}/streams/debug_events", tmp_path / "tail"
    tail = agent.start("tail", "-n", "0", "-s", "0.05", "-f", stream)
    assert tail.stdout is not None
    reader = threading.Thread(target=copy_lines, args=(tail.stdout, output))
    reader.start()
    writer, expert = site.join("operator", site.service), site.join("expert", site.service)
    load = Load([site.service], writer, expert)
    load.begin()
    waits = []
    try:
        for number, bridge in enumerate([pod["metadata"]["name"] for pod in site.bridges()]):
            site.kill(bridge)
            change(writer, "live/followed.txt", f"{number}\n")
            wanted, path = f"{number}\n".encode(), f"{PROJECT}/current/live/followed.txt"
            waits.append(
                eventually(
                    partial(shows, agent, path, wanted), VISIBLE_SECONDS, f"the change after {bridge}'s end"
                )
            )
            eventually(site.ready, 120, "three bridges ready again")
        told = load.finish()
        last = max(load.acknowledged.values())
        eventually(
            lambda: f'"sequence":{last},' in output.read_text(),
            VISIBLE_SECONDS,
            "the last event in the stream",
        )
    finally:
        load.stop.set()
        tail.kill()
        reader.join()
        tail.communicate()
    records = [json.loads(line) for line in output.read_text().splitlines()]
    seen = [record["sequence"] for record in records if record["aggregate_id"] == "load"]
    assert seen == sorted(set(seen))
    assert sorted(set(load.acknowledged.values()) - set(seen)) == []
    with capsys.disabled():
        longest = max(waits)
        print(
            f"\nagent's files: {len(seen)} events once and in order, a change seen after {longest:.1f} s; {told}"
        )


def copy_lines(source: IO[bytes], output: Path) -> None:
    """Keep the whole lines of a stream in a file, as they come."""
    with output.open("wb", buffering=0) as file:
        for line in source:
            file.write(line)


def change(writer: Session, path: str, content: str) -> None:
    """Write a file of the shadow tree through whichever bridge answers."""
    body = {"operation": "update", "file_path": path, "content": content, "agent_id": writer.agent_id}

    def done() -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(
                writer.bridge.url + "/shadow/update", json=body, headers=writer.headers, timeout=20
            )
            assert answer.status_code in {200, 503}, answer.text
            return answer.status_code == 200
        return False

    eventually(done, 30, f"{path} written")


def shows(agent: Container, path: str, content: bytes) -> bool:
    """Whether the agent reads this content."""
    return agent.run("cat", path).stdout == content


@pytest.mark.proves(17, level="survives")
def test_a_rolling_upgrade_fails_no_request(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    builder = site.join("builder", site.service)
    answers: list[int] = []
    failures: list[str] = []
    stop = threading.Event()

    def ask(client: httpx.Client, count: int) -> None:
        body = {"event_type": "custom", "data": {"n": count}}
        try:
            if count % 2:
                answer = client.post("/event/store", json=body, headers=builder.headers)
            else:
                answer = client.get("/experts", headers=builder.headers)
        except httpx.TransportError as error:
            failures.append(repr(error))
        else:
            answers.append(answer.status_code)

    def ask_steadily(*, keep: bool) -> None:
        count = 0
        limits = httpx.Limits(max_keepalive_connections=None if keep else 0)
        with httpx.Client(base_url=site.service.url, timeout=20, limits=limits) as client:
            while not stop.is_set():
                ask(client, count)
                count += 1
                time.sleep(0.01)

    threads = [threading.Thread(target=ask_steadily, kwargs={"keep": n % 2 == 0}) for n in range(4)]
    for thread in threads:
        thread.start()
    before = {pod["metadata"]["uid"] for pod in site.bridges()}
    site.values["bridge"]["podAnnotations"] = {"example.com/round": str(time.time_ns())}
    site.apply()
    eventually(lambda: len(site.bridges()) == 3, 90, "the old bridges gone")
    stop.set()
    for thread in threads:
        thread.join()
    assert not before & {pod["metadata"]["uid"] for pod in site.bridges()}
    refused = [code for code in answers if code != 200]
    with capsys.disabled():
        print(
            f"\nupgrade of 3 bridges: {len(answers)} answers, {len(refused)} not 200, {len(failures)} failures"
        )
    assert (refused, failures) == ([], [])
    assert len(answers) > 100
