"""Causes of alerts, each a context that ends with the cause."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from ci.settings import NAMESPACE
from tests.live.support import PYTHON, Bridge, Container, agent, component, pods, signal_all
from tests.monitoring.work import UNJUDGED, call, wait_until_served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.monitoring.conftest import Site

# The store is held for this long, again and again: longer than the threshold, and shorter than the bridge waits for it.
HELD_SECONDS, FREE_SECONDS = 3.0, 2.0
CALLS = 12
# A rule that no call meets.
RULES = """schema: 1
rules:
  - {{id: changing.rule-{number}, programs: [ls], decision: block, risk: high, reason: It lists; ask., when: {{operand: never}}}}
"""
# Holds the lock by which a writer of the store keeps others out for some seconds, and leaves it for some, until its
# input ends.
HOLD = """
import os, sqlite3, sys, threading
from lighthouse_bridge.settings import read_settings
held, free = map(float, sys.argv[1:])
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
store = sqlite3.connect(read_settings(os.environ).event_store_path, timeout=30, isolation_level=None)
while not ended.is_set():
    store.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    ended.wait(held)
    store.execute("ROLLBACK")
    ended.wait(free)
"""
FOREVER = 1e6


@contextlib.contextmanager
def _repeated(work: Callable[[], None], pause: float) -> Iterator[None]:
    """Do something again and again, until the body ends; an error of it is the body's."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def repeat() -> None:
        try:
            while not stop.wait(pause):
                work()
        except BaseException as error:  # told below
            errors.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]


def bridge(site: Site) -> Container:
    """The bridge's container."""
    (pod,) = pods(site.cluster, NAMESPACE, component("bridge"))
    return Container(site.cluster, NAMESPACE, pod["metadata"]["name"], "bridge")


@contextlib.contextmanager
def _held_store(site: Site, held: float, free: float) -> Iterator[None]:
    holder = bridge(site).start(PYTHON, "-c", HOLD, str(held), str(free), stdin=subprocess.PIPE)
    assert holder.stdout is not None
    said = holder.stdout.readline()
    assert said == b"held\n", said
    try:
        yield
    finally:
        holder.communicate(b"", timeout=60)


@contextlib.contextmanager
def latency(site: Site) -> Iterator[None]:
    """A store that keeps writers waiting for three of five seconds, as on a volume that stalls."""
    with _held_store(site, HELD_SECONDS, FREE_SECONDS):
        yield


@contextlib.contextmanager
def forgotten_verdicts(site: Site) -> Iterator[None]:
    """Rules of the project that change every second: with each change all that memory holds is void."""
    number = 0
    path = ".lighthouse/rules/changing.yaml"

    def change() -> None:
        nonlocal number
        number += 1
        site.operator.update(path, RULES.format(number=number))

    with _repeated(change, 1):
        yield
    site.operator.update(path, None, "delete")


@contextlib.contextmanager
def dead_file_system(site: Site) -> Iterator[None]:
    """A sidecar whose processes neither answer nor end, so that nothing takes the mount over."""
    pids = agent(site.cluster, container="fuse").pids()
    signal_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        signal_all(pids, signal.SIGCONT)


@contextlib.contextmanager
def full_queue(site: Site) -> Iterator[None]:
    """Calls of which neither rules nor experts know what to think, until a person refuses all."""
    asking = Bridge(site.cluster, "builder", "builder-unjudged")
    for number in range(CALLS):
        answer = call(asking, UNJUDGED.format(number=number), wait_seconds=0)
        assert answer.json()["metadata"]["decision"] == "escalate", answer.text
    try:
        yield
    finally:
        asking.close()
        for waiting in site.operator.http.get("/pending").json()["pending"]:
            decision = {"id": waiting["id"], "status": "blocked", "reason": "The test is over."}
            site.operator.http.post("/approve", json=decision)


@contextlib.contextmanager
def killed_bridge(site: Site) -> Iterator[None]:
    """The only bridge, killed each time that it is started again."""
    pod = bridge(site).pod

    def kill() -> None:
        with contextlib.suppress(AssertionError, KeyError):  # it may not run just now
            signal_all(Container(site.cluster, NAMESPACE, pod, "bridge").pids(), signal.SIGKILL)

    kill()
    try:
        with _repeated(kill, 1):
            yield
    finally:
        # The kubelet would wait longer and longer before it starts the container again.
        site.cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--wait=false")
        wait_until_served(site.operator, 120)


@contextlib.contextmanager
def locked_store(site: Site) -> Iterator[None]:
    """A store whose file another program has locked: nothing can be written."""
    with _held_store(site, FOREVER, 0):
        yield


@contextlib.contextmanager
def expiring_certificate(site: Site) -> Iterator[None]:
    """A certificate of an hour where the threshold is a week; then it is one of ninety days."""
    issuer = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"name": "watched", "namespace": NAMESPACE},
        "spec": {"selfSigned": {}},
    }
    site.apply(issuer, _certificate("1h"))
    try:
        yield
    finally:
        site.apply(_certificate("2160h"))


def _certificate(duration: str) -> dict[str, Any]:
    spec = {
        "secretName": "watched-certificate",
        "duration": duration,
        "dnsNames": ["watched.example.com"],
        "issuerRef": {"name": "watched", "kind": "Issuer"},
    }
    metadata = {"name": "watched", "namespace": NAMESPACE}
    return {"apiVersion": "cert-manager.io/v1", "kind": "Certificate", "metadata": metadata, "spec": spec}
