"""What an agent sees: the project through FUSE, without any privilege, whatever is killed behind it."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.support import (
    AGENTS,
    CSI,
    PROJECT,
    PYTHON,
    Container,
    agent,
    component,
    drop_caches,
    eventually,
    pods,
    signal_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ci.release import Cluster
    from tests.live.support import Bridge

pytestmark = pytest.mark.live

KILLS = 20
VISIBLE_SECONDS = 1.0

# Ends the daemon, the only child of the sidecar's first process.
KILL_DAEMON = """
import os, pathlib, signal
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    fields = dict(line.split(":\\t", 1) for line in status.read_text().splitlines() if ":\\t" in line)
    if fields["PPid"] == "1" and int(fields["Pid"]) != os.getpid():
        os.kill(int(fields["Pid"]), signal.SIGKILL)
        print(fields["Pid"])
"""

# Asks for names that do not exist, which no cache answers, and prints the longest answers in milliseconds.
PROBE = """
import pathlib, sys, time
stop, folder, worst, n = pathlib.Path("/tmp/stop"), pathlib.Path(sys.argv[1]), [], 0
while not stop.exists():
    n += 1
    begin = time.monotonic()
    (folder / f"absent-{n}-{begin}").exists()
    worst.append(1000 * (time.monotonic() - begin))
    time.sleep(0.002)
print(*[round(ms, 1) for ms in sorted(worst)[-20:]])
"""

WRITES = """
import errno, os, sys
root = sys.argv[1] + "/current"
some = next(p for p in (os.path.join(d, f) for d, _, fs in os.walk(root) for f in fs))
attempts = {
    "write": lambda: open(some, "a"), "truncate": lambda: os.truncate(some, 0), "create": lambda: open(root + "/new", "x"),
    "mkdir": lambda: os.mkdir(root + "/new"), "unlink": lambda: os.unlink(some), "rename": lambda: os.rename(some, some + "x"),
    "chmod": lambda: os.chmod(some, 0o777), "symlink": lambda: os.symlink("x", root + "/new"), "utime": lambda: os.utime(some),
    "link": lambda: os.link(some, root + "/new"), "setxattr": lambda: os.setxattr(some, "user.x", b"x"),
    "mknod": lambda: os.mkfifo(root + "/new"), "rmdir": lambda: os.rmdir(os.path.dirname(some)),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "SUCCEEDED")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"""

WAIT_FOR = """
import pathlib, sys, time
path, wanted, deadline = pathlib.Path(sys.argv[1]), sys.argv[2], time.monotonic() + 10
def seen():
    try:
        return path.read_text()
    except FileNotFoundError:
        return "absent"
print("looking", flush=True)
while seen() != wanted:
    assert time.monotonic() < deadline, f"{path} holds {seen()!r} and not {wanted!r}"
    time.sleep(0.002)
print(time.time())
"""


def restarts(container: Container) -> int:
    count: int = container.status()["restartCount"]
    return count


def wait_healed(container: Container, seconds: float = 60) -> float:
    """Until the mount answers in a container that is running all the time; returns the seconds it took."""
    return eventually(
        lambda: container.run("ls", f"{PROJECT}/current", seconds=seconds).returncode == 0, seconds, "mount"
    )


@pytest.fixture(autouse=True)
def nothing_left_in_agent(cluster: Cluster) -> Iterator[None]:
    """Remove what a test's scripts wrote into the agent's /tmp."""
    yield
    agent(cluster).run("sh", "-c", "rm -f /tmp/stop /tmp/tail.*")


@pytest.mark.parametrize("container", ["agent", "fuse"])
@pytest.mark.proves(3, level="running")
def test_containers_have_no_capability_and_can_gain_none(cluster: Cluster, container: str) -> None:
    status = agent(cluster, container=container).python("print(open('/proc/1/status').read())")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {
        name: int(fields[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")
    } == dict.fromkeys(("CapEff", "CapPrm", "CapBnd", "CapAmb"), 0)
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split() == ["65532"] * 4


def test_mount_is_layout_c(expert: Container) -> None:
    mounts = [line.split() for line in expert.output("cat", "/proc/self/mounts").splitlines()]
    types = {fields[1]: (fields[2], fields[3].split(",")[0]) for fields in mounts}
    assert types["/mnt/lighthouse"] == ("tmpfs", "ro")
    assert types[PROJECT] == ("fuse.lighthouse", "ro")


@pytest.mark.proves(3, 18, level="running")
def test_grep_and_find_see_exactly_the_source_tree(project: Path, expert: Container) -> None:
    compare = (
        "cd {root} && "
        "find . -printf '%y %m %p %l\\n' | sed 's/^\\(.\\) .../\\1/' | LC_ALL=C sort | sha256sum && "
        "find . -type f | wc -l && "
        "grep -rna '' . | LC_ALL=C sort | sha256sum && "
        "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum && "
        "find . -type f -printf '%s %p\\n' | LC_ALL=C sort | sha256sum && "
        "find . -type f -perm -u+x | LC_ALL=C sort | sha256sum"
    )
    here = subprocess.run(
        ["sh", "-c", compare.format(root=project)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    there = expert.output("sh", "-c", compare.format(root=f"{PROJECT}/current")).splitlines()
    assert int(here[1]) >= 2000
    assert there == here


def test_every_write_answers_read_only(project: Path, expert: Container) -> None:
    answers = dict(line.split() for line in expert.python(WRITES, PROJECT).splitlines())
    assert len(answers) == 13
    assert {name: answer for name, answer in answers.items() if answer != "EROFS"} == {}


def test_all_views_are_there(project: Path, expert: Container) -> None:
    names = expert.output("ls", PROJECT).split()
    assert names == ["context", "current", "debug", "history", "shadows", "streams"]
    document = expert.python(
        f"import json; print(json.load(open('{PROJECT}/shadows/run.sh'))['original_content'])"
    )
    assert document.strip() == "#!/bin/sh\necho run"
    hours = expert.output("ls", f"{PROJECT}/history").split()
    assert len(hours) >= 24
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", hour) for hour in hours[:24])
    for name in ("performance", "cache_stats", "health"):
        expert.python(f"import json; json.load(open('{PROJECT}/debug/{name}.json'))")


def test_history_shows_the_tree_as_it_was(operator: Bridge, expert: Container) -> None:
    operator.update("live/history.txt", "before\n")
    time.sleep(1.1)
    then = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    operator.update("live/history.txt", "after\n")
    expert.python(WAIT_FOR, f"{PROJECT}/current/live/history.txt", "after\n")
    assert expert.output("cat", f"{PROJECT}/history/{then}/live/history.txt") == "before\n"
    operator.update("live/history.txt", None, "delete")


def test_change_is_visible_within_a_second(operator: Bridge, expert: Container) -> None:
    path = "live/visible.txt"
    delays = {}
    states = [
        ("create", "1\n"),
        ("change", "22\n"),
        ("same size", "33\n"),
        ("delete", None),
        ("create again", "4\n"),
    ]
    for name, content in states:
        wanted = "absent" if content is None else content
        watcher = expert.start(PYTHON, "-c", WAIT_FOR, f"{PROJECT}/current/{path}", wanted)
        assert watcher.stdout
        watcher.stdout.readline()
        time.sleep(0.2)  # the watcher has the old state in the kernel's cache by now
        sent = time.time()
        operator.update(path, content, "delete" if content is None else "update")
        out, err = watcher.communicate(timeout=20)
        assert watcher.returncode == 0, err.decode()
        delays[name] = float(out) - sent
    operator.update(path, None, "delete")
    print("visible after (ms):", {name: round(1000 * delay) for name, delay in delays.items()})
    assert max(delays.values()) < VISIBLE_SECONDS


@pytest.mark.proves(3, 18, level="survives")
def test_daemon_killed_twenty_times_during_grep_and_tail(
    project: Path, operator: Bridge, expert: Container, sidecar: Container
) -> None:
    before = (restarts(expert), restarts(sidecar))
    stream = f"{PROJECT}/streams/file_changes"
    grep = expert.start(
        "sh",
        "-c",
        f"while ! [ -e /tmp/stop ]; do grep -rc import {PROJECT}/current > /tmp/tail.grep || exit 3; echo pass; done",
    )
    tail = expert.start("sh", "-c", f"tail -n 0 -f {stream} > /tmp/tail.out & wait_for=$!; "
                        "while ! [ -e /tmp/stop ]; do sleep 0.1; done; kill $wait_for")  # fmt: skip
    probe = expert.start(PYTHON, "-c", PROBE, f"{PROJECT}/current")
    forget = threading.Event()

    def keep_caches_cold() -> None:
        while not forget.wait(0.3):
            drop_caches()

    cold = threading.Thread(target=keep_caches_cold)
    cold.start()
    try:
        time.sleep(2)
        sequences = []
        for number in range(KILLS):
            killed = sidecar.python(KILL_DAEMON).split()
            assert len(killed) == 1, killed
            sequences.append(operator.update("live/tail.txt", f"{number}\n"))
            time.sleep(0.4)
        time.sleep(2)
    finally:
        forget.set()
        cold.join()
        expert.output("touch", "/tmp/stop")
    results = {
        name: (p.communicate(timeout=60), p.returncode)
        for name, p in [("grep", grep), ("tail", tail), ("probe", probe)]
    }
    for name, ((_, err), code) in results.items():
        assert (code, err) == (0, b""), f"{name} ended with {code}: {err.decode()}"
    passes = results["grep"][0][0].count(b"pass")
    print("grep passes:", passes, "longest answers (ms):", results["probe"][0][0].decode().strip())
    assert passes >= 2
    seen = [int(s) for s in re.findall(r'"sequence": ?(\d+)', expert.output("cat", "/tmp/tail.out"))]
    assert [s for s in seen if s in set(sequences)] == sequences
    assert (restarts(expert), restarts(sidecar)) == before


@pytest.mark.proves(3, 18, level="survives")
def test_killed_sidecar_container_heals_in_the_running_agent(
    project: Path, expert: Container, sidecar: Container
) -> None:
    before = restarts(expert)
    reader = expert.start(
        PYTHON, "-c", f"f=open('{PROJECT}/current/blob.bin','rb'); print('open',flush=True); input(); print(len(f.read()))",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    assert reader.stdout
    reader.stdout.readline()
    signal_all(sidecar.pids()[:1], signal.SIGKILL)
    drop_caches()
    print(f"healed after {wait_healed(expert):.1f} s")
    out, err = reader.communicate(b"\n", timeout=60)
    assert (out.strip(), err) == (b"3000001", b"")
    assert restarts(expert) == before
    assert restarts(sidecar) > 0


@pytest.mark.parametrize("end", ["killed", "replaced"])
@pytest.mark.proves(18, level="survives")
def test_mounts_go_on_without_the_driver_and_after_it(
    cluster: Cluster, project: Path, expert: Container, sidecar: Container, end: str
) -> None:
    (pod,) = pods(cluster, CSI, component("fuse-csi"))
    driver = Container(cluster, CSI, pod["metadata"]["name"], "driver")
    count = restarts(driver)
    if end == "killed":
        signal_all(driver.pids(), signal.SIGKILL)
    else:
        cluster.kubectl("delete", "pod", driver.pod, "-n", CSI, "--wait=false")

    def is_back() -> bool:
        items = cluster.get("pods", "-n", CSI, "-l", component("fuse-csi"))["items"]
        return any(
            state["ready"] and (item["metadata"]["name"] != driver.pod or state["restartCount"] > count)
            for item in items
            for state in item["status"].get("containerStatuses", [])
        )

    while not is_back():
        drop_caches()
        expert.output("sh", "-c", f"grep -rc import {PROJECT}/current/packages > /dev/null")
    time.sleep(3)  # the sidecar dials the new driver and deposits the mount
    signal_all(sidecar.pids()[:1], signal.SIGKILL)
    drop_caches()
    print(f"healed after {wait_healed(expert):.1f} s")


def test_pod_deleted_while_its_mount_hangs_is_gone_within_its_grace_period(
    cluster: Cluster, project: Path
) -> None:
    hung = agent(cluster, "architecture")
    pod = cluster.get("pod", hung.pod, "-n", AGENTS)
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    stopped = Container(cluster, AGENTS, hung.pod, "fuse").pids()
    signal_all(stopped, signal.SIGSTOP)
    try:
        drop_caches()
        reader = hung.start("sh", "-c", f"cat {PROJECT}/current/blob.bin > /dev/null")
        time.sleep(2)
        assert reader.poll() is None, "the reader should hang"
        begin = time.monotonic()
        cluster.kubectl("delete", "pod", hung.pod, "-n", AGENTS, "--wait", f"--timeout={grace + 5}s")
        print(f"gone after {time.monotonic() - begin:.1f} s of {grace} s")
        reader.communicate(timeout=30)
    finally:
        signal_all(stopped, signal.SIGCONT)
    left = [line for line in Path("/proc/mounts").read_text().splitlines() if pod["metadata"]["uid"] in line]
    assert left == []
    agent(cluster, "architecture").output("ls", f"{PROJECT}/current")
