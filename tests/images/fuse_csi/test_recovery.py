"""Deaths and hangs: what an agent reads goes on, or fails soon and heals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lighthouse_fuse_csi import channel
from tests.images.fuse_csi.machine import Node, Pod
from tests.images.fuse_csi.support import HTTP, USER, BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GREP = ("grep", "-rc", "import", "/mnt/project/current/src")


@pytest.fixture
def lone(own_node: Node, bridge: BridgeProgram) -> Iterator[Pod]:
    """A pod on a node of its own."""
    each = Pod(own_node, bridge.url, bridge.keys / "expert")
    try:
        yield each.start()
    finally:
        each.close()


def kill_daemon(pod: Pod) -> float:
    """SIGKILL the daemon; returns how long the next answer took, in milliseconds."""
    victim = pod.daemon()
    os.kill(victim, signal.SIGKILL)
    started = time.perf_counter()
    # A name that was never asked for: the kernel cannot answer from its cache.
    assert not (pod.project / f"current/src/{time.perf_counter_ns()}").exists()
    took = 1000 * (time.perf_counter() - started)
    eventually(lambda: pod.daemon() != victim)
    return took


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread has stopped."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    eventually(lambda: all(") T " in (each / "stat").read_text() for each in tasks.iterdir()))


def readable(pod: Pod, seconds: float) -> float:
    """Wait until the container reads again; returns after how many seconds."""
    started = time.monotonic()
    eventually((pod.project / "current/src/abc.py").read_bytes, seconds, "the mount heals")
    return time.monotonic() - started


def test_daemon_killed_20_times_under_grep_and_tail_loses_nothing(
    make_pod: Callable[..., Pod], bridge: BridgeProgram, tmp_path: Path
) -> None:
    pod = make_pod().start()
    expected = sorted(pod.run(*GREP).stdout.splitlines())
    output = tmp_path / "tail"
    command = ["tail", "-n", "0", "-s", "0.05", "-f", "/mnt/project/streams/file_changes"]
    with output.open("wb") as file:
        tail = subprocess.Popen(pod.in_container(command), stdout=file, stderr=subprocess.STDOUT)
    stop = threading.Event()
    rounds: list[tuple[bool, bytes]] = []

    def grep() -> None:
        while not stop.is_set():
            # Without its caches the kernel asks for every name and page anew.
            Path("/proc/sys/vm/drop_caches").write_text("3")
            result = pod.run(*GREP)
            rounds.append((sorted(result.stdout.splitlines()) == expected, result.stderr))

    thread = threading.Thread(target=grep)
    thread.start()
    times = []
    try:
        for index in range(20):
            time.sleep(0.1)
            bridge.write(f"killed/{index}", f"{time.time()}")
            times.append(kill_daemon(pod))
        eventually(lambda: '"killed/19"' in output.read_text(), 5)
    finally:
        stop.set()
        thread.join()
        tail.kill()
        tail.wait()
    text = ", ".join(f"{each:.0f}" for each in sorted(times))
    print(f"recovery in ms: {text}; {len(rounds)} greps")
    assert rounds
    assert all(same and errors == b"" for same, errors in rounds), rounds
    lines = output.read_text()
    assert [f'"killed/{index}"' in lines for index in range(20)] == [True] * 20
    assert "truncated" not in lines
    assert sorted(times)[10] < 1000


def test_files_opened_before_the_daemons_death_are_read_on(pod: Pod) -> None:
    with (pod.project / "current/src/abc.py").open("rb") as file:
        number = os.fstat(file.fileno()).st_ino
        print(f"{kill_daemon(pod):.0f} ms")
        assert file.read().startswith(b"# Copyright")
        assert os.fstat(file.fileno()).st_ino == number


def test_changes_while_the_daemon_is_dead_are_seen_after(pod: Pod, bridge: BridgeProgram) -> None:
    bridge.write("dead/one", "old")
    bridge.write("dead/gone", "old")
    assert eventually(lambda: (pod.project / "current/dead/one").read_text() == "old")
    assert eventually(lambda: (pod.project / "current/dead/gone").read_text() == "old")
    daemon = pod.daemon()
    freeze(daemon)
    bridge.write("dead/one", "new, and longer")
    bridge.delete("dead/gone")
    bridge.write("dead/new", "new")
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: (pod.project / "current/dead/one").read_text() == "new, and longer", 3)
    eventually(lambda: not (pod.project / "current/dead/gone").exists(), 1)
    eventually((pod.project / "current/dead/new").exists, 1)


def test_silent_daemon_is_replaced(pod: Pod) -> None:
    freeze(pod.daemon())
    # The answer hangs until the supervisor's patience of 5 s ends; then the answer comes after all.
    assert not (pod.project / f"current/{time.perf_counter_ns()}").exists()
    assert pod.get("/ready")[0] == 200


def test_daemon_that_cannot_start_is_tried_with_pauses(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod()
    pod.cache.chmod(0o500)
    pod.start_sidecar()
    assert pod.sidecar is not None
    log = pod.sidecar.log

    def deaths() -> int:
        return log.read_text().count("daemon ended")

    time.sleep(2.2)
    assert deaths() <= 8
    eventually(lambda: deaths() >= 5, 30)
    pod.cache.chmod(0o700)
    pod.wait_ready()


def test_sidecar_killed_is_resumed_by_the_next_one(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod().start()
    # The kernel learns at the first close that it need not ask; before that, a close would wait too.
    readable(pod, 1)
    with (pod.project / "current/src/abc.py").open("rb") as file:
        assert pod.sidecar is not None
        pod.sidecar.end()
        pod.start_sidecar()
        print(f"readable {readable(pod, 10):.2f} s after the container's restart")
        assert file.read().startswith(b"# Copyright")
    assert 'kind="hello",result="granted"' in pod.node.metrics()


def test_driver_restart_leaves_the_mount_and_a_later_death_of_the_sidecar_heals(lone: Pod) -> None:
    node = lone.node
    assert node.driver is not None
    with (lone.project / "current/src/abc.py").open("rb") as file:
        node.driver.end()
        assert lone.run(*GREP).stderr == b""
        node.start_driver()
        eventually(lambda: 'kind="hello",result="accepted"' in node.metrics())
        assert lone.sidecar is not None
        lone.sidecar.end()
        lone.start_sidecar()
        readable(lone, 10)
        # The deposit was handed back: the very same connection goes on.
        assert file.read().startswith(b"# Copyright")


def test_both_dead_heals_with_a_fresh_mount_in_the_running_container(lone: Pod) -> None:
    node = lone.node
    assert node.driver is not None
    assert lone.sidecar is not None
    node.driver.end()
    lone.sidecar.end()
    with pytest.raises(OSError, match=r"abort|not connected"):
        (lone.project / "current/src").stat()
    node.start_driver()
    lone.start_sidecar()
    print(f"readable after {readable(lone, 10):.2f} s")
    assert 'result="remounted"' in node.metrics()
    assert lone.run(*GREP).stderr == b""


def test_hung_sidecar_is_cut_off_at_the_deadline_and_heals(lone: Pod) -> None:
    assert lone.sidecar is not None
    for pid in (lone.daemon(), lone.sidecar.pid):
        freeze(pid)
    started = time.monotonic()
    with pytest.raises(OSError, match=r"abort|not connected"):
        (lone.project / f"current/{time.perf_counter_ns()}").stat()
    took = time.monotonic() - started
    assert 1 < took < lone.node.abort_seconds + 3
    assert 'aborts_total{reason="deadline"} 1.0' in lone.node.metrics()
    for pid in (lone.sidecar.pid, lone.daemon()):
        os.kill(pid, signal.SIGCONT)
    print(f"cut off after {took:.1f} s, readable again {readable(lone, 10):.2f} s after it woke")


def test_dead_sidecar_that_stays_away_is_cut_off_at_the_deadline(lone: Pod) -> None:
    assert lone.sidecar is not None
    lone.sidecar.end()
    started = time.monotonic()
    with pytest.raises(OSError, match=r"abort|not connected"):
        (lone.project / f"current/{time.perf_counter_ns()}").stat()
    assert time.monotonic() - started < lone.node.abort_seconds + 2
    lone.start_sidecar()
    readable(lone, 10)


def test_pod_is_unpublished_quickly_while_an_access_hangs(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod().start()
    assert pod.sidecar is not None
    for pid in (pod.daemon(), pod.sidecar.pid):
        freeze(pid)
    reader = subprocess.Popen(
        pod.in_container(["stat", "/mnt/project/current/hangs"]), stderr=subprocess.PIPE
    )
    time.sleep(0.3)
    assert reader.poll() is None
    started = time.monotonic()
    pod.node.unpublish(pod.uid, "data")
    pod.node.unpublish(pod.uid, "control")
    took = time.monotonic() - started
    _, errors = reader.communicate(timeout=5)
    assert reader.returncode != 0
    assert errors
    assert took < 2
    assert not any(f"/pods/{pod.uid}/" in line for line in pod.node.mount_lines())


DIALLER = """
import os, socket, sys
sys.path.insert(0, sys.argv[3])
from lighthouse_fuse_csi import channel
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect(sys.argv[1])
connection.settimeout(5)
try:
    channel.send(connection, channel.Hello())
    print(channel.receive(connection)[0])
except channel.ClosedError as error:
    print("closed", error)
"""


@pytest.mark.parametrize(("uid", "words"), [(USER, "only one sidecar"), (0, "must not run as root")])
def test_another_dialler_is_refused_while_the_first_lives(pod: Pod, uid: int, words: str) -> None:
    package = str(Path(channel.__file__).parents[1])
    program = str(pod.node.venv / "bin" / "python")
    path = str(pod.folder / "control" / channel.SOCKET_NAME)
    result = subprocess.run(
        pod.node.enter([program, "-c", DIALLER, path, str(uid), package]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert words in result.stdout, result.stderr
    assert (pod.project / "current/src/abc.py").read_bytes()


def test_garbage_on_the_control_socket_only_ends_that_connection(node: Node) -> None:
    node.publish("garbage", "control")
    try:
        path = node.inside(node.target("garbage", "control")) / channel.SOCKET_NAME
        for data in (b"\xff" * 100, b"", b"\x81\xa4type\xa5hello"):
            script = (
                "import os,socket,sys; os.chdir(sys.argv[1]); os.setuid(65532);"
                "s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.connect(sys.argv[2]);"
                "s.send(bytes.fromhex(sys.argv[3])) if sys.argv[3] else None"
            )
            arguments = [str(path.parent), path.name, data.hex()]
            subprocess.run([sys.executable, "-c", script, *arguments], check=True)
        assert HTTP.request("GET", f"http://127.0.0.1:{node.metrics_port}/health").status == 200
    finally:
        node.unpublish("garbage", "control")


def test_sidecar_ends_cleanly_on_sigterm(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod().start()
    assert pod.sidecar is not None
    daemon = pod.daemon()
    started = time.monotonic()
    assert pod.sidecar.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 2
    assert not Path(f"/proc/{daemon}").exists()
