"""Redis on a running cluster, under load, while its size and its secrets change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ci.settings import NAMESPACE
from tests.images.certificates import new_authority
from tests.live.support import PYTHON, Container, eventually, pods
from tests.production.redis.conftest import DOMAIN, KEEPER, NAME
from tests.production.redis.probe import Event, Program, told, watched
from tests.production.redis.probes import WATCH

if TYPE_CHECKING:
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live

SERIAL = """
import socket, ssl, sys
folder = "/etc/lighthouse/redis-tls/"
def serial(host, port):
    context = ssl.create_default_context(cafile=folder + "ca.crt")
    context.load_cert_chain(folder + "tls.crt", folder + "tls.key")  # nodes ask for one on the bus
    with socket.create_connection((host, port), 3) as plain, context.wrap_socket(plain, server_hostname=host) as s:
        return int(s.getpeercert()["serialNumber"], 16)
for host in sys.argv[1:]:
    for port in (6379, 16379):
        try:
            print(host, port, serial(host, port))
        except OSError as error:
            print(host, port, type(error).__name__)
"""
FILES = "for name in ('ca.crt', 'tls.crt'): print(open('/etc/lighthouse/redis-tls/' + name).read().strip())"
LOGIN = """
import sys
from redis import Redis
from redis.exceptions import RedisError
user, password, *hosts = sys.stdin.read().split()
tls = "/etc/lighthouse/redis-tls/"
files = {"ssl_ca_certs": tls + "ca.crt", "ssl_certfile": tls + "tls.crt", "ssl_keyfile": tls + "tls.key"}
for host in hosts:
    try:
        Redis(host=host, ssl=True, **files, username=user, password=password).ping()
        print("yes")
    except RedisError:
        print("no")
"""


def hosts(release: Release) -> list[str]:
    return [f"{NAME}-{n}.{DOMAIN}" for n in range(release.primaries * 2)]


def logins(release: Release, beside: Container, user: str, password: str) -> set[str]:
    words = " ".join((user, password, *hosts(release)))
    return set(beside.run(PYTHON, "-I", "-c", LOGIN, stdin=words.encode()).stdout.decode().split())


def test_three_primaries_become_five_and_three_again(
    release: Release, beside: Container, report: Report
) -> None:
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        begin = time.monotonic()
        release.primaries = 5
        release.upgrade(timeout="10m")
        took = time.monotonic() - begin
        larger = Program(beside, WATCH, NAME, DOMAIN, "5", "1")
        eventually(lambda: bool(larger.lines) and len(larger.lines[-1]["held"]) == 5, 60, "five have slots")
        larger.close()
        time.sleep(2)
    told(report, "three primaries become five", event, took)
    assert event.kinds() <= {"AttributeError"}, (
        "redis-py may meet a node that it does not know, and nothing else"
    )
    assert event.lost() == 0

    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        begin = time.monotonic()
        release.primaries = 3
        release.upgrade(timeout="10m")
        took = time.monotonic() - begin
        smaller = Program(beside, WATCH, NAME, DOMAIN, "3", "1")
        eventually(lambda: bool(smaller.lines) and smaller.lines[-1]["whole"], 120, "three are whole")
        assert sorted(map(int, smaller.lines[-1]["pods"])) == list(range(6))
        smaller.close()
        time.sleep(2)
    told(report, "five primaries become three", event, took)
    assert event.lost() == 0


def wait_served(release: Release, serial: int) -> float:
    """Wait until every node shows this certificate to clients and on the bus; returns how long it took."""
    guard = release.pod(0, "guard")  # clients may not reach the bus
    wanted = {f"{host} {port} {serial}" for host in hosts(release) for port in (6379, 16379)}
    return eventually(
        lambda: set(guard.output(PYTHON, "-I", "-c", SERIAL, *hosts(release)).splitlines()) == wanted,
        240,
        "every node serves the new certificate on both ports",
    )


def wait_taken(release: Release, *clients: Container) -> None:
    """Wait until clients have the authorities and the certificate of their Secret."""
    wanted = "\n".join((release.clients / name).read_text().strip() for name in ("ca.crt", "tls.crt"))
    for client in clients:
        eventually(
            lambda client=client: client.output(PYTHON, "-I", "-c", FILES).strip() == wanted,  # type: ignore[misc]
            240,
            f"{client.pod} has the files",
        )


def test_a_new_certificate_is_served_without_a_restart(
    release: Release, beside: Container, report: Report
) -> None:
    restarts = started(release)
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        took = wait_served(release, release.put_certificate())
        time.sleep(2)
    told(report, "certificate rotated", event, took)
    assert event.errors()[0] == 0
    assert started(release) == restarts


def test_a_new_authority_takes_over_in_three_steps_without_a_restart(
    release: Release, beside: Container, report: Report
) -> None:
    restarts = started(release)
    (pod,) = pods(release.cluster, NAMESPACE, KEEPER)
    keeper = Container(release.cluster, NAMESPACE, pod["metadata"]["name"], "keeper")
    old, new = release.authority, new_authority("tests, the next")
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        for signs, trusted in ((old, (old, new)), (new, (old, new)), (new, (new,))):
            release.authority = signs
            serial = release.put_certificate(*trusted)
            wait_served(release, serial)
            wait_taken(release, beside, keeper)
        took = time.time() - event.began
        time.sleep(2)
    told(report, "authority of certificates rotated in three steps", event, took)
    assert event.errors()[0] == 0
    assert started(release) == restarts
    # Who connects anew trusts the new one alone, and nodes find each other again.
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        release.delete(*release.alive()[:1])
        event.wait_whole(120, at_least=5)


def started(release: Release) -> dict[str, str]:
    """When the server of each pod started."""
    return {
        f"pod {n}": str(release.pod(n).status()["state"]["running"]["startedAt"])
        for n in range(release.primaries * 2)
    }


def test_a_password_changes_in_three_steps_without_a_restart(
    release: Release, beside: Container, report: Report
) -> None:
    restarts = started(release)
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        old = release.passwords["bridge"]
        for content, accepted in (
            (f"{old}\nsecond", "second"),
            (f"second\n{old}", "second"),
            ("second", "second"),
        ):
            release.passwords["bridge"] = content
            release.put_passwords()
            eventually(
                lambda accepted=accepted: logins(release, beside, "bridge", accepted) == {"yes"},  # type: ignore[misc]
                240,
                f"every node accepts {accepted}",
            )
        took = eventually(
            lambda: logins(release, beside, "bridge", old) == {"no"}, 240, "the old one is refused"
        )
        time.sleep(2)
    told(report, "password rotated", event, took)
    assert event.errors()[0] == 0
    assert started(release) == restarts
