"""Attempts to abuse the bridge over HTTP, with the standard library only: it runs in an agent's container and outside.

    python abuse.py HOST PORT KEY_FILE AGENT_ID TOKENS

The key is that of the role `expert`; TOKENS is a JSON object of tokens that the bridge itself signed, whose sessions are
out of time. Prints one JSON object: for each attempt whether it was refused, and the answer.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import secrets
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MIB = 1024 * 1024
SECONDS = 8
CLOSED = "connection closed"
SILENT = "no answer"


class Target:
    """The bridge, as raw bytes over one connection each."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    def send(self, *parts: bytes) -> str:
        """The status line's code, `CLOSED`, or `SILENT`."""
        with socket.create_connection((self.host, self.port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            try:
                for part in parts:
                    connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered before it closed
            try:
                answer = connection.recv(64 * 1024)
            except TimeoutError:
                return SILENT
            except ConnectionResetError:
                return CLOSED
        words = answer.split(b" ", 2)
        return words[1].decode() if len(words) > 1 else CLOSED

    def answers(self, data: bytes) -> int:
        """How many responses one piece of bytes brings."""
        received = b""
        with socket.create_connection((self.host, self.port), SECONDS) as connection:
            connection.settimeout(2)
            with suppress(OSError):
                connection.sendall(data)
                while chunk := connection.recv(64 * 1024):
                    received += chunk
        return received.count(b"HTTP/1.1 ")

    def request(
        self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> str:
        """An orderly request; `path` goes out as it is."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"), *([body] if body else []))


class Client:
    """An agent that holds the experts' key."""

    def __init__(self, target: Target, key: str, agent_id: str) -> None:
        self.target = target
        self.key = key
        self.agent_id = agent_id

    def call(
        self, path: str, body: dict[str, Any], token: str, signature: str = ""
    ) -> tuple[int, dict[str, Any]]:
        """POST JSON and read JSON."""
        import http.client  # noqa: PLC0415 - only orderly calls need it

        connection = http.client.HTTPConnection(self.target.host, self.target.port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        headers |= {"X-Lighthouse-Signature": signature} if signature else {}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        answer = json.loads(response.read() or b"{}")
        connection.close()
        return response.status, answer

    def session(self) -> str:
        """A fresh session's token."""
        body = {"agent_id": self.agent_id, "ip_address": "127.0.0.1", "user_agent": "abuse"}
        status, answer = self.call("/session/create", body, self.key)
        if status not in (200, 201):
            raise SystemExit(f"POST /session/create answered {status}: {answer}.")
        token: str = answer["session_token"]
        return token


def bearer(token: str) -> tuple[str, str]:
    """The header of a token."""
    return "Authorization", f"Bearer {token}"


def tokens(client: Client) -> dict[str, tuple[str, str]]:
    """Forged, altered, replayed and misplaced tokens, at a route that any valid one may use."""
    own = client.session()
    session, agent, epoch, mac = own.split(":")
    wanted = "401"
    path = "/events/stream?after=0"

    def signed(key: str, session: str = session, agent: str = agent, epoch: str = epoch) -> str:
        text = f"{session}:{agent}:{epoch}"
        return f"{text}:{hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()}"

    ended = client.session()
    client.call("/session/end", {}, ended)
    flipped = mac[:-1] + ("0" if mac[-1] != "0" else "1")
    forged = {
        "an empty token": "",
        "a word for a token": "letmein",
        "a token with one digit of its signature changed": f"{session}:{agent}:{epoch}:{flipped}",
        "a token without its signature": f"{session}:{agent}:{epoch}",
        "a token with an empty signature": f"{session}:{agent}:{epoch}:",
        "a token for another agent with the old signature": f"{session}:other:{epoch}:{mac}",
        "a token made younger": f"{session}:{agent}:{time.time()}:{mac}",
        "a token signed with the join key": signed(client.key),
        "a token signed with an empty key": signed(""),
        "a token signed with a word": signed("secret"),
        "a token of a session that never was": signed(client.key, session="0" * 32),
        "a token with a time that is no number": f"{session}:{agent}:nan:{mac}",
        "a token in base64": base64.b64encode(own.encode()).decode(),
        "a token twice in one header": f"{own}, Bearer {own}",
        "a token of an ended session, replayed": ended,
        "the join key as a token": client.key,
        "a very long token": "a" * 8000,
    }
    found = {
        name: (wanted, client.target.request("GET", path, [bearer(token)])) for name, token in forged.items()
    }
    basic = base64.b64encode(f"x:{own}".encode()).decode()
    for name, headers in {
        "no token": [],
        "another scheme": [("Authorization", f"Basic {basic}")],
        "a token in another header": [("X-Session-Token", own)],
        "a token as a cookie": [("Cookie", f"session_token={own}")],
    }.items():
        found[name] = wanted, client.target.request("GET", path, headers)
    found["a token in the address"] = wanted, client.target.request("GET", f"{path}&session_token={own}")
    for name, token in {
        "a session without a key": "",
        "a session with a wrong key": "0" * len(client.key),
        "a session with the beginning of the key": client.key[:-1],
        "a session with more than the key": client.key + "0",
        "a session with a session's token": own,
    }.items():
        body = json.dumps({"agent_id": client.agent_id}).encode()
        headers = [bearer(token), ("Content-Type", "application/json")]
        found[name] = wanted, client.target.request("POST", "/session/create", headers, body)
    return found


def outdated(client: Client, old: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Tokens whose signature is right and whose session is out of time; a fresh one shows that the route answers."""
    sent = {f"a token signed by the bridge, of a session {age}": ("401", token) for age, token in old.items()}
    sent["a token in time, for comparison"] = "200", client.session()
    path = "/events/stream?after=0"
    return {
        name: (code, client.target.request("GET", path, [bearer(token)]))
        for name, (code, token) in sent.items()
    }


def replays(client: Client) -> dict[str, tuple[str, str]]:
    """Signed messages sent again, by others or changed; the question they answer does not exist, hence 404 if taken."""
    path, found = "/elicitation/respond", {}
    # Answers are limited per agent, three at once.
    for half in ("again", "late"):
        agent = Client(client.target, client.key, f"{client.agent_id}-{half}")
        own, other = agent.session(), agent.session()
        body = {"elicitation_id": "0" * 32, "responding_agent": agent.agent_id, "response_type": "decline"}
        digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
        unix = int(time.time()) - (400 if half == "late" else 0)
        head = f"{secrets.token_hex(16)}:{unix}"
        text = "\n".join((agent.agent_id, *head.split(":"), "POST", path, digest))
        sign = f"{head}:{hmac.new(own.encode(), text.encode(), hashlib.sha256).hexdigest()}"
        attempts: dict[str, tuple[str, dict[str, str], str, str]] = {
            "a signed message, the first time": ("404", body, own, sign),
            "a signed message, replayed": ("401", body, own, sign),
            "a signed message, changed": ("401", body | {"response_type": "cancel"}, own, sign),
        }
        if half == "late":
            attempts = {
                "a signed message of seven minutes ago": ("401", body, own, sign),
                "a signed message, in another session": ("401", body, other, sign),
                "a message without its signature": ("401", body, own, ""),
            }
        for name, (wanted, sent, token, signature) in attempts.items():
            found[name] = wanted, str(agent.call(path, sent, token, signature)[0])
    return found


def roles(client: Client) -> dict[str, tuple[str, str]]:
    """What an expert may not do, and what nobody may do in another's name."""
    own = client.session()
    change = {"operation": "create", "file_path": "x", "content": "x", "agent_id": client.agent_id}
    tool = {"tool_name": "Bash", "tool_input": {"command": "ls"}, "agent_id": client.agent_id}
    posts: dict[str, tuple[str, str, dict[str, Any]]] = {
        "validating as an expert": ("403", "/validate", tool),
        "changing the tree as an expert": ("403", "/shadow/update", change),
        "changing the tree at large as an expert": (
            "403",
            "/shadow/updates",
            {"agent_id": client.agent_id, "updates": []},
        ),
        "approving as an expert": ("403", "/approve", {"id": "0" * 32, "status": "approved", "reason": "x"}),
        "annotating in another's name": (
            "400 403",
            "/shadow/annotate",
            {"file_path": "README.md", "line": 1, "annotation": "x", "expert_id": "somebody-else"},
        ),
        "registering in another's name": (
            "400 403",
            "/expert/register",
            {"agent_id": "somebody-else", "agent_type": "security", "capabilities": ["security_audit"]},
        ),
        "a heartbeat in another's name": ("400 403", "/expert/heartbeat", {"agent_id": "somebody-else"}),
        "an event in another's name": (
            "400 403",
            "/event/store",
            {"event_type": "custom", "agent_id": "somebody-else", "data": {}},
        ),
        "an unknown field": ("422", "/expert/heartbeat", {"agent_id": client.agent_id, "role": "operator"}),
        "a session that asks for a role": ("422", "/session/create", {"agent_id": "x", "role": "operator"}),
        "a search that never ends": ("400 408", "/shadow/search", {"pattern": "(a+)+$" * 20 + "("}),
    }
    found = {}
    for name, (wanted, path, body) in posts.items():
        token = client.key if path == "/session/create" else own
        found[name] = wanted, str(client.call(path, body, token)[0])
    found["reading what waits for people"] = "403", client.target.request("GET", "/pending", [bearer(own)])
    return found


def bodies(client: Client) -> dict[str, tuple[str, str]]:
    """Bodies that are too large, of another kind, or not what they say."""
    own = client.session()
    kind = ("Content-Type", "application/json")
    path = "/expert/heartbeat"
    send = client.target.request
    deep = b"[" * 100_000
    large = json.dumps({"agent_id": "a" * MIB}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {own}\r\n"
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    return {
        "a body over the limit": ("413", send("POST", path, [bearer(own), kind], large)),
        "a body over the limit in pieces": (
            "413",
            client.target.send((head + "Transfer-Encoding: chunked\r\n\r\n").encode(), *[chunk] * 40),
        ),
        "a body that claims a petabyte": (
            "413",
            client.target.send((head + f"Content-Length: {2**50}\r\n\r\n").encode(), b"{}"),
        ),
        "a body nested 100,000 deep": ("400 422", send("POST", path, [bearer(own), kind], deep)),
        "a body that is no JSON": ("400", send("POST", path, [bearer(own), kind], b"agent_id=x")),
        "a body that is no text": ("400", send("POST", path, [bearer(own), kind], b'{"agent_id": "\xff"}')),
        "a number that is none": ("400 422", send("POST", path, [bearer(own), kind], b'{"agent_id": NaN}')),
        "a body of another type": (
            "415",
            send("POST", path, [bearer(own), ("Content-Type", "text/xml")], b"<x/>"),
        ),
        "a compressed body": (
            "400 415",
            send("POST", path, [bearer(own), kind, ("Content-Encoding", "gzip")], gzip.compress(b"{}")),
        ),
        "another method": ("405 404", send("DELETE", path, [bearer(own)])),
        "tracing": ("405 404", send("TRACE", "/health", [bearer(own)])),
    }


def paths(client: Client) -> dict[str, tuple[str, str]]:
    """Names that would lead out of the project, or into what it protects."""
    own = [bearer(client.session())]
    names = {
        "a path upwards": "../../../etc/passwd",
        "a path upwards, encoded": "%2e%2e/%2e%2e/etc/passwd",
        "a path upwards, wholly encoded": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "a path upwards, encoded twice": "%252e%252e%252fetc%252fpasswd",
        "a path upwards after a folder": "docs/../../etc/passwd",
        "an absolute path": "/etc/passwd",
        "an absolute path, encoded": "%2fetc%2fpasswd",
        "a path with a NUL": "README.md%00.txt",
        "a path with backslashes": "..%5c..%5cetc%5cpasswd",
        "a path with an overlong encoding": "%c0%ae%c0%ae/etc/passwd",
        "the protected folder": ".git/config",
        "the process's own files": "proc/self/environ",
    }
    found = {}
    for name, path in names.items():
        for route in ("read", "document", "history"):
            found[f"{name} ({route})"] = (
                "400 404",
                client.target.request("GET", f"/shadow/{route}/{path}", own),
            )
    found["content by a name that is no hash"] = (
        "400 404",
        client.target.request("GET", "/shadow/blobs/../../etc/passwd", own),
    )
    found["a context by a path"] = "400 404", client.target.request("GET", "/context/..%2f..%2fetc", own)
    return found


def shapes(client: Client) -> dict[str, tuple[str, str]]:
    """Requests that two servers would read differently."""
    target = client.target
    own = client.session()
    begin = f"POST /expert/heartbeat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {own}\r\nContent-Type: application/json\r\n"
    get = "GET /health HTTP/1.1\r\nHost: x\r\n"
    smuggled = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    refused = f"400 411 413 414 431 501 505 {CLOSED}"
    attempts = {
        "two lengths that differ": begin + "Content-Length: 2\r\nContent-Length: 20\r\n\r\n{}",
        "a list of lengths": begin + "Content-Length: 2, 20\r\n\r\n{}",
        "a negative length": begin + "Content-Length: -1\r\n\r\n{}",
        "a signed length": begin + "Content-Length: +2\r\n\r\n{}",
        "a length in hexadecimal": begin + "Content-Length: 0x2\r\n\r\n{}",
        "an encoding that is not known": begin + "Transfer-Encoding: xchunked\r\n\r\n{}",
        "an encoding twice": begin + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "a chunk of no size": begin + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "a chunk of a size that overflows": begin
        + "Transfer-Encoding: chunked\r\n\r\n"
        + "f" * 17
        + "\r\n{}\r\n0\r\n\r\n",
        "a space before the colon": get + "X-A : b\r\n\r\n",
        "a folded header": get + "X-A: b\r\n c\r\n\r\n",
        "a header with a NUL": get + "X-A: b\0c\r\n\r\n",
        "a header without a name": get + ": b\r\n\r\n",
        "a carriage return inside a header": get + "X-A: b\rX-B: c\r\n\r\n",
        "a space before the first header": "GET /health HTTP/1.1\r\n Host: x\r\n\r\n",
        "no host": "GET /health HTTP/1.1\r\n\r\n",
        "two hosts": "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "a host that is none": "GET /health HTTP/1.1\r\nHost: a b/c\r\n\r\n",
        "a version that is none": "GET /health HTTP/9.9\r\nHost: x\r\n\r\n",
        "no version": "GET /health\r\n\r\n",
        "a method with a control character": "G\x01T /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "a header of a megabyte": get + f"X-A: {'a' * MIB}\r\n\r\n",
        "ten thousand headers": get + "".join(f"X-{n}: b\r\n" for n in range(10_000)) + "\r\n",
        "an address of a megabyte": f"GET /{'a' * MIB} HTTP/1.1\r\nHost: x\r\n\r\n",
    }
    found = {name: (refused, target.send(text.encode("latin-1"))) for name, text in attempts.items()}
    both = (
        f"{begin}Content-Length: {4 + len(smuggled)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    )
    found["a length and an encoding, with a request behind"] = "1 or 0 answers", _count(target, both)
    short = f"{begin}Content-Length: 0\r\nContent-Length: {len(smuggled)}\r\n\r\n{smuggled}"
    found["a request behind a shorter length"] = "1 or 0 answers", _count(target, short)
    return found


def _count(target: Target, text: str) -> str:
    number = target.answers(text.encode())
    return "1 or 0 answers" if number <= 1 else f"{number} answers"


def main() -> None:
    """Try everything and print what came of it."""
    host, port, key_file, agent_id, old_tokens = sys.argv[1:]
    client = Client(Target(host, int(port)), Path(key_file).read_text().strip(), agent_id)
    found: dict[str, tuple[str, str]] = {}
    for attempts in (tokens, replays, roles, bodies, paths, shapes):
        found |= attempts(client)
    found |= outdated(client, json.loads(old_tokens))
    found["the bridge serves after all that"] = "200", client.target.request("GET", "/ready")
    shown = {
        name: {"refused": answer == wanted or answer in wanted.split(), "answer": answer, "wanted": wanted}
        for name, (wanted, answer) in found.items()
    }
    print(json.dumps(shown))


if __name__ == "__main__":
    main()
