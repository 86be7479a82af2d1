"""Every way to follow events: in order, exactly once, filtered, resumed, and ended with a reason."""

import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.images.bridge.subscribers import WAYS, events, reading, socket_of
from tests.images.bridge.support import Agent, Bridge

every_way = pytest.mark.parametrize("way", WAYS)


def store(agent: Agent, data: dict[str, Any], aggregate: str = "a") -> int:
    answer = agent.post("/event/store", {"event_type": "custom", "data": data, "aggregate_id": aggregate})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["sequence"])


@every_way
def test_a_subscriber_resumes_without_gap_and_goes_on_live(way: str, builder: Agent, expert: Agent) -> None:
    start = builder.bridge.sequence()
    stored = [store(builder, {"n": n}) for n in range(20)]
    with reading(way, expert, start) as lines:
        found = events(lines, 20)
        stored += [store(builder, {"n": n}) for n in range(20, 30)]
        found += events(lines, 10)
    assert [line["sequence"] for line in found] == stored
    assert [line["data"]["n"] for line in found] == list(range(30))
    with reading(way, expert, stored[14]) as lines:
        assert [line["sequence"] for line in events(lines, 15)] == stored[15:]


@every_way
def test_filters_by_type_agent_and_aggregate(way: str, bridge: Bridge, expert: Agent) -> None:
    first, second = bridge.join("builder"), bridge.join("builder")
    start = bridge.sequence()
    kept = [store(first, {"n": 1}, "wanted")]
    store(first, {"n": 2}, "other")
    store(second, {"n": 3}, "wanted")
    first.update("filters.txt", str(start))
    kept.append(store(first, {"n": 4}, "wanted"))
    wanted = {"types": ["custom"], "agents": [first.agent_id], "aggregates": ["wanted", "else"]}
    with reading(way, expert, start, **wanted) as lines:
        assert [line["sequence"] for line in events(lines, 2)] == kept
        # What is not wanted moves the place to resume from, too.
        last = store(second, {"n": 5}, "wanted")
        for _ in range(5):
            beat = next(lines)
            if beat["sequence"] >= last:
                break
        assert beat == {**beat, "says": "heartbeat", "sequence": last}


@every_way
def test_a_stream_ends_with_its_session_and_says_so(way: str, bridge: Bridge) -> None:
    expert = bridge.join("expert")
    with reading(way, expert, bridge.sequence()) as lines:
        next(lines)
        assert expert.post("/session/end").status_code == 200
        begin = time.monotonic()
        last = list(lines)[-1]
    assert time.monotonic() - begin < 3
    assert last["says"] == "closing"
    assert last["reason"] == "the session has ended"
    assert last.get("code", 4401) == 4401


@pytest.mark.heavy
@every_way
def test_a_stop_sends_what_is_left_and_says_goodbye(way: str, start_bridge: Callable[..., Bridge]) -> None:
    own = start_bridge()
    builder, expert = own.join("builder"), own.join("expert")
    start = own.sequence()
    with reading(way, expert, start) as lines:
        next(lines)
        last = [store(builder, {"n": n}) for n in range(50)][-1]
        assert own.process is not None
        own.process.send_signal(signal.SIGTERM)
        rest = list(lines)
    assert [line["sequence"] for line in rest if "says" not in line] == list(range(start + 1, last + 1))
    assert rest[-1]["says"] == "closing"
    assert "shutting down" in rest[-1]["reason"]
    assert rest[-1].get("code", 1001) == 1001
    assert own.process.wait(10) == 0


@pytest.mark.heavy
@every_way
def test_a_subscriber_of_a_killed_bridge_sees_every_event_once(
    way: str, start_bridge: Callable[..., Bridge]
) -> None:
    own = start_bridge()
    builder, expert = own.join("builder"), own.join("expert")
    start = own.sequence()
    seen: list[int] = []
    acknowledged: list[int] = []
    done = threading.Event()

    def follow() -> None:
        while not done.is_set():
            try:
                with reading(way, expert, seen[-1] if seen else start) as lines:
                    for line in lines:
                        if "says" not in line:
                            seen.append(line["sequence"])
                        if done.is_set():
                            return
            except (httpx.HTTPError, OSError, AssertionError, EOFError, InvalidStatus):
                time.sleep(0.02)

    follower = threading.Thread(target=follow)
    follower.start()
    for _ in range(3):
        acknowledged += [store(builder, {"n": n}) for n in range(40)]
        own.kill()
        own.start()
    acknowledged.append(store(builder, {"last": True}))
    own.wait_for(lambda: bool(seen) and seen[-1] >= acknowledged[-1])
    done.set()
    follower.join(10)
    assert seen == sorted(set(seen))
    assert set(acknowledged) <= set(seen)
    assert seen[: len(acknowledged)] == list(range(start + 1, start + 1 + len(acknowledged)))


def raw_request(own: Bridge, agent: Agent, way: str, subscriptions: int = 1) -> socket.socket:
    """A connection that has asked for everything and reads nothing."""
    connection = socket.create_connection(("127.0.0.1", own.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    # A session is used by the program that opened it, or by none.
    program = own.http.headers["User-Agent"]
    common = f"Host: x\r\nAuthorization: Bearer {agent.token}\r\nUser-Agent: {program}\r\n"
    if way == "websocket":
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        connection.sendall(f"GET /ws/{agent.agent_id} HTTP/1.1\r\n{common}{upgrade}\r\n".encode())
        assert b" 101 " in connection.recv(1000)
        for n in range(subscriptions):
            text = json.dumps({"type": "subscribe", "id": f"s{n}", "after": 0}).encode()
            connection.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
    else:
        accept = "Accept: text/event-stream\r\n" if way == "sse" else ""
        connection.sendall(f"GET /events/stream HTTP/1.1\r\n{common}{accept}\r\n".encode())
    return connection


SLOW = 10
# What a bridge holds beside its streams' pieces: recent events, pages of the store, and what is freed later.
FEED_KB, CACHES_KB, SLACK_KB = 16 * 1024, 48 * 1024, 64 * 1024


def memory(own: Bridge) -> int:
    """What the process holds, in kB."""
    with open(f"/proc/{own.pid}/smaps_rollup") as file:  # noqa: PTH123 - the kernel's, line by line
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    text = b""
    while True:
        try:
            piece = connection.recv(1 << 20)
        except ConnectionResetError:
            return text
        if not piece:
            return text
        text = (text + piece)[-10_000:]
        if b"dropped" in text[-300:] or b"too slow" in text[-300:]:
            return text


@pytest.mark.heavy
@every_way
@pytest.mark.parametrize("reads_again", [True, False])
def test_a_slow_reader_is_dropped_with_a_reason_and_harms_nobody(
    way: str, reads_again: bool, start_bridge: Callable[..., Bridge]
) -> None:
    # Who reads again does so when all are dropped: in time for the first of them as well.
    own = start_bridge(LIGHTHOUSE_SLOW_READER_SECONDS="10" if reads_again else "3")
    builder, expert = own.join("builder"), own.join("expert")
    start = own.sequence()

    def dropped() -> bool:
        text = own.http.get(f"http://127.0.0.1:{own.metrics_port}/metrics").text
        return f"lighthouse_bridge_stream_dropped_total {SLOW}.0" in text

    with ExitStack() as stack:
        slow = [stack.enter_context(raw_request(own, expert, way)) for _ in range(SLOW)]
        lines = stack.enter_context(reading(way, expert, start))
        before = memory(own)
        for n in range(30):
            sequence = store(builder, {"n": n, "filling": "x" * 900_000})
            assert events(lines, 1)[0]["sequence"] == sequence
        own.wait_for(dropped, 60)
        if reads_again:
            assert b"too slow" in read_all(slow[0])
        assert own.http.get("/ready").status_code == 200
        last = store(builder, {"n": "after"})
        assert events(lines, 1)[0]["sequence"] == last
        # The feed, the store's caches and a piece for each, twice; the readers were owed 270,000 kB.
        assert memory(own) - before < FEED_KB + CACHES_KB + SLOW * 2 * 1024 + SLACK_KB


def test_streams_of_an_agent_are_counted_over_all_its_sockets(bridge: Bridge) -> None:
    many, other = bridge.join("expert"), bridge.join("expert")
    start = bridge.sequence()

    def subscribed(own: Any, name: str) -> int:
        own.send(json.dumps({"type": "subscribe", "id": name, "after": start, "types": ["backup_created"]}))
        while True:
            answer = json.loads(own.recv(20))
            if answer["type"] in {"subscribed", "error"}:
                return int(answer.get("status", 200))

    with ExitStack() as stack:
        sockets = [stack.enter_context(socket_of(many)) for _ in range(5)]
        for own in sockets[:4]:
            assert [subscribed(own, str(n)) for n in range(16)] == [200] * 16
        assert subscribed(sockets[4], "beyond") == 429
        refused = many.get("/events/stream", params={"after": start})
        assert (refused.status_code, many.agent_id in refused.json()["detail"]) == (429, True)
        with reading("sse", other, start) as lines:
            assert next(lines)["says"] == "heartbeat"
        sockets[0].close()
        bridge.wait_for(lambda: subscribed(sockets[4], str(time.monotonic())) == 200)


def test_a_place_beyond_the_end_is_refused(expert: Agent) -> None:
    beyond = expert.bridge.sequence() + 1000
    assert expert.get("/events/stream", params={"after": beyond}).status_code == 409
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(beyond)}
    assert expert.get("/events/stream", headers=headers).status_code == 409
    headers["Last-Event-ID"] = "-1"
    assert expert.get("/events/stream", headers=headers).status_code == 400
    with socket_of(expert) as own:
        own.send(json.dumps({"type": "subscribe", "id": "s", "after": beyond}))
        answer = json.loads(own.recv(5))
        assert (answer["type"], answer["status"], answer["id"]) == ("error", 409, "s")


def test_a_socket_needs_a_live_session_of_its_agent(bridge: Bridge, expert: Agent) -> None:
    ended = bridge.join("expert")
    ended.post("/session/end")
    refusals = [
        (expert, {"token": "wrong"}, 401),
        (ended, {}, 401),
        (expert, {"agent_id": "somebody-else"}, 403),
    ]
    for agent, options, status in refusals:
        with pytest.raises(InvalidStatus) as refused, socket_of(agent, **options):
            pass
        assert refused.value.response.status_code == status
    anonymous = httpx.get(bridge.url + f"/ws/{expert.agent_id}")
    assert anonymous.status_code == 404


def test_a_socket_holds_several_subscriptions_and_answers_pings(builder: Agent, expert: Agent) -> None:
    start = builder.bridge.sequence()

    def say(**message: Any) -> None:
        own.send(json.dumps(message))

    def hear(*wanted: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(own.recv(5))
            if message["type"] in wanted:
                return message

    with socket_of(expert) as own:
        say(type="ping")
        assert hear("pong") == {"type": "pong"}
        for name in ("all", "none"):
            types = {"all": ["custom"], "none": ["backup_created"]}[name]
            say(type="subscribe", id=name, after=start, types=types)
            assert hear("subscribed")["id"] == name
        sequence = store(builder, {"n": 1})
        event = hear("event")
        assert (event["id"], event["event"]["sequence"]) == ("all", sequence)
        say(type="subscribe", id="all")
        assert hear("error")["status"] == 409
        say(type="unsubscribe", id="all")
        assert hear("unsubscribed") == {"type": "unsubscribed", "id": "all"}
        store(builder, {"n": 2})
        say(type="unsubscribe", id="all")
        assert hear("event", "error")["status"] == 404
        say(type="subscribe", id="again", after=sequence)
        assert hear("event")["event"]["data"] == {"n": 2}


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        "{}",
        '{"type": "unknown"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "id": ""}',
        '{"type": "subscribe", "id": "s", "after": -1}',
        '{"type": "subscribe", "id": "s", "more": 1}',
        '{"type": "subscribe", "id": "s", "types": ["nonsense"]}',
    ],
)
def test_a_wrong_message_is_told_and_the_socket_goes_on(expert: Agent, text: str) -> None:
    with socket_of(expert) as own:
        own.send(text)
        answer = json.loads(own.recv(5))
        assert (answer["type"], answer["status"]) == ("error", 400)
        assert answer["detail"]
        own.send('{"type": "ping"}')
        assert json.loads(own.recv(5)) == {"type": "pong"}


def test_a_socket_bounds_messages_and_subscriptions(expert: Agent) -> None:
    with socket_of(expert) as own:
        for n in range(17):
            own.send(json.dumps({"type": "subscribe", "id": str(n), "types": ["backup_created"]}))
        answers: list[dict[str, Any]] = []
        while not answers or answers[-1]["type"] != "error":
            answers.append(json.loads(own.recv(20)))
        assert answers[-1]["status"] == 429
        assert sum(answer["type"] == "subscribed" for answer in answers) == 16
        own.send('{"type": "' + "x" * 70_000 + '"}')
        code = None
        while code is None:
            try:
                own.recv(20)
            except ConnectionClosed:
                code = own.close_code
        assert code == 1009
