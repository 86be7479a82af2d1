"""Subscribers of the tests: one protocol, three ways to read the events of a real bridge."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


class Address(Protocol):
    """Where a bridge is reached."""

    @property
    def url(self) -> str: ...


class Reader(Protocol):
    """A session of an agent."""

    @property
    def bridge(self) -> Address: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def headers(self) -> dict[str, str]: ...


WAYS = ("ndjson", "sse", "websocket")
# What a reader yields: an event, or what the bridge says about the stream itself, under "says".
Line = dict[str, Any]


@contextmanager
def reading(way: str, agent: Reader, after: int = 0, **filters: list[str]) -> Iterator[Iterator[Line]]:
    """Subscribe; ends when the bridge ends the stream, the last line saying why."""
    opened = {"ndjson": _ndjson, "sse": _sse, "websocket": _websocket}[way]
    with opened(agent, after, filters) as lines:
        yield lines


def events(lines: Iterator[Line], count: int) -> list[Line]:
    """The next events."""
    found: list[Line] = []
    while len(found) < count:
        line = next(lines)
        if "says" not in line:
            found.append(line)
    return found


@contextmanager
def _stream(agent: Reader, headers: dict[str, str], query: dict[str, Any]) -> Iterator[httpx.Response]:
    url, merged = agent.bridge.url + "/events/stream", {**agent.headers, **headers}
    with httpx.stream("GET", url, params=query, headers=merged, timeout=10) as answer:
        assert answer.status_code == 200, answer.read()
        yield answer


@contextmanager
def _ndjson(agent: Reader, after: int, filters: dict[str, list[str]]) -> Iterator[Iterator[Line]]:
    query = {"after": after, **{name: ",".join(values) for name, values in filters.items()}}
    with _stream(agent, {}, query) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"

        def lines() -> Iterator[Line]:
            for text in answer.iter_lines():
                line = json.loads(text)
                says = next((word for word in ("heartbeat", "closing") if line.get(word)), None)
                yield {"says": says, **line} if says else line

        yield lines()


@contextmanager
def _sse(agent: Reader, after: int, filters: dict[str, list[str]]) -> Iterator[Iterator[Line]]:
    query = {name: ",".join(values) for name, values in filters.items()}
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with _stream(agent, headers, query) as answer:
        assert answer.headers["content-type"] == "text/event-stream"

        def lines() -> Iterator[Line]:
            fields: dict[str, str] = {}
            for text in answer.iter_lines():
                if text:
                    name, _, value = text.partition(": ")
                    fields[name] = value
                    continue
                line = json.loads(fields["data"])
                assert line["sequence"] == int(fields["id"])
                yield {"says": fields["event"], **line} if "event" in fields else line
                fields = {}

        yield lines()


@contextmanager
def socket_of(
    agent: Reader, agent_id: str | None = None, token: str | None = None
) -> Iterator[ClientConnection]:
    """A WebSocket of an agent."""
    url = agent.bridge.url.replace("http://", "ws://") + f"/ws/{agent_id or agent.agent_id}"
    headers = {"Authorization": f"Bearer {token or agent.token}"}
    with connect(url, additional_headers=headers, open_timeout=10, close_timeout=2) as socket:
        yield socket


@contextmanager
def _websocket(agent: Reader, after: int, filters: dict[str, list[str]]) -> Iterator[Iterator[Line]]:
    with socket_of(agent) as socket:
        socket.send(json.dumps({"type": "subscribe", "id": "s", "after": after, **filters}))
        assert json.loads(socket.recv(10)) == {"type": "subscribed", "id": "s", "after": after}

        def lines() -> Iterator[Line]:
            while True:
                try:
                    message = json.loads(socket.recv(10))
                except ConnectionClosed as closed:
                    if closed.rcvd is None:
                        raise ConnectionError from None
                    yield {"says": "closing", "code": closed.rcvd.code, "reason": closed.rcvd.reason}
                    return
                assert message["id"] == "s", message
                yield message["event"] if message["type"] == "event" else {"says": message["type"], **message}

        yield lines()
