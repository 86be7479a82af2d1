"""Faults that really happen, under load: every acknowledged event is there, none twice, and nobody had to help."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images.bridge.postgres import Postgres, postgres_server
from tests.images.bridge.support import Agent, Bridge
from tests.ports import free_port

pytestmark = pytest.mark.heavy  # real servers, killed again and again

WRITERS = 6


class Load:
    """Writers that repeat each event under its own id until it is acknowledged."""

    def __init__(self, own: Bridge) -> None:
        self.own = own
        self.acknowledged: dict[str, int] = {}
        self.refusals: set[str] = set()
        self.wrong: list[str] = []
        self._ending = threading.Event()
        self._agents = [own.join("builder") for _ in range(WRITERS)]
        self._threads = [threading.Thread(target=self._write, args=(agent,)) for agent in self._agents]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def grow(self, more: int, seconds: float = 60.0) -> None:
        """Return once so many more events are acknowledged."""
        wanted = len(self.acknowledged) + more
        self.own.wait_for(lambda: len(self.acknowledged) >= wanted, seconds)

    def _write(self, agent: Agent) -> None:
        n = 0
        with httpx.Client(base_url=self.own.url, headers=agent.headers, timeout=30) as http:
            while not self._ending.is_set():
                body = {"event_type": "custom", "event_id": f"load-{agent.agent_id}-{n}", "data": {"n": n}}
                if self._send(http, body):
                    n += 1

    def _send(self, http: httpx.Client, body: dict[str, Any]) -> bool:
        try:
            answer = http.post("/events", json=body)
        except httpx.TransportError:
            time.sleep(0.05)
            return False
        if answer.status_code == 200:
            self.acknowledged[body["event_id"]] = answer.json()["sequence"]
            return True
        if answer.status_code == 503:
            self.refusals.add(answer.json()["detail"])
        else:
            self.wrong.append(answer.text)
        time.sleep(0.05)
        return False


def check(load: Load, *others: Bridge) -> None:
    """Everything acknowledged is stored once, where it was said to be, and the chain holds."""
    assert load.wrong == []
    assert len(load.acknowledged) > 100
    for own in (load.own, *others):
        operator = own.join("operator")
        found: dict[str, list[int]] = {}
        after = 0
        while True:
            page = operator.get("/events", params={"types": "custom", "after": after, "limit": 5000}).json()
            for event in page["events"]:
                found.setdefault(event["event_id"], []).append(event["sequence"])
                after = event["sequence"]
            if not page["more"]:
                break
        lost = {key: at for key, at in load.acknowledged.items() if found.get(key) != [at]}
        assert lost == {}
        assert [key for key, places in found.items() if len(places) > 1] == []
        at: dict[str, Any] = {"limit": 50_000}
        assert operator.get("/events/verify", params=at).json()["problems"] == []


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """A server that a test may stop and start."""
    with postgres_server() as server:
        yield server.create_database()


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest, start_bridge: Callable[..., Bridge]) -> Bridge:
    """A bridge of the test's own, on each engine."""
    if request.param == "sqlite":
        return start_bridge()
    return start_bridge(postgres=request.getfixturevalue("postgres").create_database())


def test_a_bridge_killed_during_appends_loses_and_doubles_nothing(own: Bridge) -> None:
    with Load(own) as load:
        for _ in range(4):
            load.grow(60)
            own.kill()
            own.start()
        load.grow(30)
    check(load)


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of 16 MiB that anybody may use."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_and_free(own: Bridge, load: Load, place: Path) -> None:
    """Leave no room until writers are refused and the bridge says why; then let it recover by itself."""
    load.grow(100)
    stuffing = place / "stuffing"
    with suppress(OSError), stuffing.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65_536)
    own.wait_for(lambda: bool(load.refusals), 60)
    own.wait_for(lambda: "cannot be written" in own.http.get("/ready").json().get("detail", ""))
    assert own.http.get("/health").status_code == 200
    stuffing.unlink()
    load.grow(50)
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_full_disk_is_told_and_left_behind_without_hands(
    start_bridge: Callable[..., Bridge], tmp_path: Path
) -> None:
    place = tmp_path / "small"
    with small_disk(place):
        own = start_bridge(
            LIGHTHOUSE_EVENT_STORE_PATH=str(place / "events.db"), LIGHTHOUSE_MIN_FREE_BYTES="0"
        )
        with Load(own) as load:
            fill_and_free(own, load, place)
        assert any("full" in reason for reason in load.refusals), load.refusals
        check(load)
        own.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_full_disk_of_the_server_is_told_and_left_behind_without_hands(
    own_server: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    place = own_server.folder / "small"
    with small_disk(place):
        tables = place / "tables"
        tables.mkdir()
        shutil.chown(tables, own_server.folder.owner(), own_server.folder.group())
        with own_server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{tables}'".encode())
            connection.execute(b"CREATE DATABASE small TABLESPACE small")
        small = replace(own_server, database="small")
        own = start_bridge(postgres=small, LIGHTHOUSE_DATABASE_RETRY_SECONDS="1")
        with Load(own) as load:
            fill_and_free(own, load, place)
        assert any("No space left on device" in reason for reason in load.refusals), load.refusals
        check(load)
        own.kill()
        own_server.stop()
        own_server.start()
        own.start()
        check(load)
        own.kill()
        own_server.stop()


def test_a_program_that_looks_into_the_file_takes_nothing_from_the_bridge(
    start_bridge: Callable[..., Bridge],
) -> None:
    own = start_bridge()
    with Load(own) as load:
        for _ in range(5):
            load.grow(30)
            with closing(sqlite3.connect(own.store, timeout=5)) as connection:
                assert connection.execute("SELECT count(*) FROM events").fetchone() > (0,)
        load.grow(30)
        own.kill()
        own.start()
    check(load)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_a_server_restarted_under_load_costs_time_and_nothing_else(
    own_server: Postgres, start_bridge: Callable[..., Bridge], number: signal.Signals
) -> None:
    own, other = start_bridge(postgres=own_server), start_bridge(postgres=own_server)
    with Load(own) as load:
        for _ in range(3):
            load.grow(60)
            own_server.stop(number)
            own_server.start()
        load.grow(60)
    own.wait_for(lambda: other.sequence() >= max(load.acknowledged.values()))
    check(load, other)


def test_a_server_that_stays_away_makes_the_bridge_unready_with_the_reason(
    own_server: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    own = start_bridge(postgres=own_server, LIGHTHOUSE_DATABASE_RETRY_SECONDS="1")
    builder = own.join("builder")
    own_server.stop()
    body = {"event_type": "custom", "data": {}}
    refused = builder.post("/events", body)
    assert refused.status_code == 503
    assert own_server.database in refused.json()["detail"]
    unready = own.http.get("/ready")
    assert (unready.status_code, own_server.database in unready.json()["detail"]) == (503, True)
    assert own.http.get("/health").status_code == 200
    started = time.monotonic()
    assert builder.post("/events", body).status_code == 503
    assert time.monotonic() - started < 5
    own_server.start()
    own.wait_for(lambda: own.http.get("/ready").status_code == 200)
    assert builder.post("/events", body).status_code == 200


def test_a_connection_cut_in_mid_transaction_loses_and_doubles_nothing(
    postgres: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    server = postgres.create_database()
    with proxy(server.server_port) as between:
        own = start_bridge(postgres=replace(server, port=between.port))
        other = start_bridge(postgres=server)
        with Load(own) as load:
            for n in range(12):
                load.grow(20)
                # Every other time the answers are swallowed first: what was committed is not known then.
                between.cut(mute_seconds=0.1 if n % 2 else 0.0)
            load.grow(20)
        own.wait_for(lambda: other.sequence() >= max(load.acknowledged.values()))
        check(load, other)
        assert between.cuts == 12


def test_credentials_are_rotated_without_a_restart(
    own_server: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    own = start_bridge(postgres=own_server)
    with Load(own) as load:
        load.grow(60)
        with own_server.connect() as connection:
            connection.execute("ALTER ROLE lighthouse PASSWORD 'the-next-one'")
            (own_server.secret_dir / "password").write_text("the-next-one")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lighthouse-bridge'"
            )
        load.grow(60)
    own_server.password = "the-next-one"
    check(load)


def test_what_other_bridges_commit_is_heard_though_notifications_are_lost(
    postgres: Postgres, start_bridge: Callable[..., Bridge]
) -> None:
    server = postgres.create_database()
    with proxy(server.server_port) as between:
        deaf, other = start_bridge(postgres=replace(server, port=between.port)), start_bridge(postgres=server)
        agent = other.join("builder")
        for n in range(3):
            between.cut(mute_seconds=0.3)
            sequence = agent.post("/events", {"event_type": "custom", "data": {"n": n}}).json()["sequence"]
            deaf.wait_for(lambda sequence=sequence: deaf.sequence() >= sequence)


class Proxy:
    """Forwards TCP connections until it cuts them."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = free_port()
        self.cuts = 0
        self._muted = threading.Event()
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self, mute_seconds: float) -> None:
        """Swallow the server's answers for a while, then end every connection."""
        if mute_seconds:
            self._muted.set()
            time.sleep(mute_seconds)
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()
        self._muted.clear()
        self.cuts += 1

    def close(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut(0)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._pump, args=(source, sink, answers), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                if answers and self._muted.is_set():
                    continue
                sink.sendall(piece)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before a port of this machine."""
    between = Proxy(target)
    try:
        yield between
    finally:
        between.close()
