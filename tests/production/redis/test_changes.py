"""Redis on a running cluster, under load, while its size and its secrets change."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.live.support import PYTHON, eventually
from tests.production.redis.conftest import DOMAIN, NAME
from tests.production.redis.probe import Event, Program, told, watched
from tests.production.redis.probes import WATCH

if TYPE_CHECKING:
    from tests.live.support import Container
    from tests.production.redis.conftest import Release
    from tests.production.reports import Report

pytestmark = pytest.mark.live

SERIAL = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/etc/lighthouse/redis-tls/ca.crt")
for host in sys.argv[1:]:
    with socket.create_connection((host, 6379), 3) as plain, context.wrap_socket(plain, server_hostname=host) as s:
        print(int(s.getpeercert()["serialNumber"], 16))
"""
LOGIN = """
import sys
from redis import Redis
from redis.exceptions import RedisError
user, password, *hosts = sys.stdin.read().split()
for host in hosts:
    try:
        Redis(host=host, ssl=True, ssl_ca_certs="/etc/lighthouse/redis-tls/ca.crt", username=user, password=password).ping()
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
    assert load.lines[-1]["lost"] == 0

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
    assert load.lines[-1]["lost"] == 0


def test_a_new_certificate_is_served_without_a_restart(
    release: Release, beside: Container, report: Report
) -> None:
    restarts = started(release)
    with watched(beside, release.shape) as (watch, load):
        event = Event(watch, load)
        serial = release.put_certificate()

        def served() -> set[int]:
            return set(map(int, beside.output(PYTHON, "-I", "-c", SERIAL, *hosts(release)).split()))

        took = eventually(lambda: served() == {serial}, 240, "every node serves the new certificate")
        time.sleep(2)
    told(report, "certificate rotated", event, took)
    assert event.errors()[0] == 0
    assert started(release) == restarts


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
