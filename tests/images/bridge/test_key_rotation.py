"""The key that signs session tokens is replaced while bridges and sessions go on."""

import time
from collections.abc import Callable

import pytest

from lighthouse_bridge.credentials import open_token
from tests.images.bridge.postgres import Postgres
from tests.images.bridge.subscribers import reading
from tests.images.bridge.support import Agent, Bridge

pytestmark = pytest.mark.heavy  # two bridges on a server

OLD, NEW = "s" * 48, "n" * 48
# The file is looked at every second.
TAKEN_OVER_SECONDS = 1.5


@pytest.fixture
def bridges(postgres: Postgres, start_bridge: Callable[..., Bridge]) -> list[Bridge]:
    server = postgres.create_database()
    return [start_bridge(postgres=server) for _ in range(2)]


def write(bridges: list[Bridge], text: str) -> None:
    for own in bridges:
        file = own.folder / "auth-secret"
        # As a mounted Secret is changed: another file in the old one's place.
        fresh = file.with_name("fresh")
        fresh.write_text(text)
        fresh.rename(file)
    time.sleep(TAKEN_OVER_SECONDS)


def statuses(bridges: list[Bridge], agent: Agent) -> list[int]:
    return [own.http.get("/shadow/tree", headers=agent.headers).status_code for own in bridges]


def test_sessions_live_on_while_the_key_is_replaced_on_two_bridges(bridges: list[Bridge]) -> None:
    first, second = bridges
    pids = [own.pid for own in bridges]
    before = first.join("builder")
    anchor = before.get("/events/head").json()
    with reading("ndjson", before, anchor["sequence"]) as lines:
        # One bridge has the new key and the other has not yet: neither signs with it.
        write([first], f"{OLD}\n{NEW}\n")
        between = first.join("builder")
        assert statuses(bridges, between) == [200, 200]
        write([second], f"{OLD}\n{NEW}\n")
        # One signs with the new key and the other still with the old one.
        write([first], f"{NEW}\n{OLD}\n")
        after, other = first.join("builder"), second.join("builder")
        assert open_token([NEW.encode()], after.token) is not None
        assert open_token([OLD.encode()], other.token) is not None
        write([second], f"{NEW}\n{OLD}\n")
        for agent in (before, between, after, other):
            assert statuses(bridges, agent) == [200, 200]
        # A head that was saved before is one that the bridge still owns to.
        head = before.get("/events/head", params={"sequence": anchor["sequence"]}).json()
        assert anchor["signature"] in head["earlier_signatures"]
        assert anchor["signature"] != head["signature"]
        sequence = before.post("/events", {"event_type": "custom", "data": {}}).json()["sequence"]
        assert any("says" not in line and line["sequence"] == sequence for line in lines)
    write(bridges, NEW)
    assert statuses(bridges, after) == [200, 200]
    for agent in (before, between, other):
        assert statuses(bridges, agent) == [401, 401]
    assert [own.pid for own in bridges] == pids
    assert all(own.process is not None and own.process.poll() is None for own in bridges)


def test_a_secret_that_cannot_be_used_is_told_and_the_earlier_one_goes_on(bridges: list[Bridge]) -> None:
    own = bridges[0]
    before = own.join("builder")
    for text in ("", f"{NEW}\nshort\n", "lighthouse-default-secret-change-in-production"):
        write([own], text)
        assert statuses([own], before) == [200]
        assert statuses(bridges, own.join("builder")) == [200, 200]
    (own.folder / "auth-secret").unlink()
    time.sleep(TAKEN_OVER_SECONDS)
    assert statuses([own], before) == [200]
    log = own.log.read_text()
    assert log.count("auth secret not taken over") == 4
    assert (OLD in log, NEW in log) == (False, False)


def test_random_bytes_are_one_key_though_one_of_them_ends_lines(start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    key = b"\xff" * 30 + b"\n" + b"\xfe" * 20
    (own.folder / "auth-secret").write_bytes(key)
    time.sleep(TAKEN_OVER_SECONDS)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    assert open_token([key], own.join("builder").token) is not None
