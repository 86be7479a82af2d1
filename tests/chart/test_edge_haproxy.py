"""What the edge tells HAProxy, before a real HAProxy: it limits, refuses and passes on as it was meant to."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import shutil
import socket
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.images.certificates import certificate, new_authority

from .test_edge import haproxy, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lighthouse_harness.render import Renderer

LIMIT = 10
"""Requests of a client in a second."""
CONFIGURATION = """
defaults
  mode http
  timeout client 50s
  timeout http-request 5s
frontend edge
  bind 127.0.0.1:{port}
  default_backend bridge
backend bridge
  timeout server {silence}
  {forwarded}
  {encryption}
{snippet}
  server one 127.0.0.1:{bridge}
"""
"""As the ingress controller writes it, in short and in its order: what annotations say stands in the backend."""
ENCRYPTION = "default-server ssl alpn h2,http/1.1 verify required ca-file {authority} crt {client}"
"""What the controller makes of server-ssl, server-ca and server-crt."""
BRIDGE = "lighthouse-bridge.lighthouse.svc.cluster.local"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SHAPES = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n"
    % len(SMUGGLED),
    "a length that is no number": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "an encoding that is not known": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk without a size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a bare line feed in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\nY: z\r\n\r\n",
}


class _Bridge(BaseHTTPRequestHandler):
    """Answers with the request's addresses and notes what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = ", ".join(self.headers.get_all("X-Forwarded-For", [])).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Edge:
    """A HAProxy that was set up by the chart, before a server that takes anything."""

    def __init__(self, port: int, asked: list[str]) -> None:
        self.port, self.asked = port, asked

    def ask(
        self, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, "/", body, headers or {})
        answer = connection.getresponse()
        said = {name.lower(): text for name, text in answer.getheaders()}
        result = answer.status, said, answer.read().decode()
        connection.close()
        return result

    def raw(self, request: bytes, *, whole: bool = True) -> bytes:
        """What HAProxy says to these bytes until it closes; it owes no answer to who leaves before the request is whole."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            if whole:
                connection.shutdown(socket.SHUT_WR)
            said = b""
            while more := connection.recv(65536):
                said += more
        return said


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture(name="edge")
def _edge(renderer: Renderer, tmp_path: Path) -> Iterator[Edge]:
    with _running(renderer, tmp_path) as edge:
        yield edge


@contextlib.contextmanager
def _running(
    renderer: Renderer, tmp_path: Path, maker: str = "none", tls: ssl.SSLContext | None = None
) -> Iterator[Edge]:
    """HAProxy, set up by the chart, before a server that speaks TLS if there is a context for it.

    Its own certificate and the authority are in the folder `controller` then.
    """
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    # Its absence fails the tests, since nothing else proves what they prove.
    assert program, "haproxy is not a program here: apt-get install haproxy, or run 'make up' once"
    told = haproxy(
        whole(
            renderer,
            {
                "global": {"certificates": {"maker": maker}},
                "edge": {"controller": "haproxy", "maxBodyMiB": 1, "rateLimit": {"requestsPerSecond": LIMIT}},
            },
        )
    )
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bridge", (_Bridge,), {"asked": asked}))
    encryption = ""
    if tls:
        folder = tmp_path / "controller"
        encryption = ENCRYPTION.format(authority=folder / "ca.crt", client=folder / "both.pem")
        # The handshake is for the thread of a connection: a client that fails it must not end the server.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = _free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        CONFIGURATION.format(
            port=port,
            bridge=server.server_address[1],
            silence=told["timeout-server"],
            forwarded={"true": "option forwardfor"}[told["forwarded-for"]],
            encryption=encryption,
            snippet=told["backend-config-snippet"],
        )
    )
    checked = subprocess.run([program, "-c", "-f", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen([program, "-db", "-f", file], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield Edge(port, asked)
        process.terminate()
    server.shutdown()
    server.server_close()


def test_a_client_beyond_its_limit_is_told_when_to_come_again(edge: Edge) -> None:
    deadline = time.monotonic() + 60
    answers: list[tuple[int, dict[str, str], str]] = []
    # A slow machine may take more than a second for one round.
    while 429 not in {answer[0] for answer in answers} and time.monotonic() < deadline:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers += pool.map(lambda _: edge.ask(), range(6 * LIMIT))
    told = [answer for answer in answers if answer[0] == 429]
    assert {answer[0] for answer in answers} == {200, 429}
    assert len(answers) - len(told) >= LIMIT, "what is refused must not count"
    assert {headers["retry-after"] for _, headers, _ in told} == {"1"}
    assert {text for *_, text in told} == {f'{{"detail":"A client may send {LIMIT} requests a second."}}'}
    assert len(edge.asked) == len(answers) - len(told), "what was refused must not have reached the bridge"
    time.sleep(1.5)
    assert edge.ask()[0] == 200


def test_a_body_beyond_the_limit_does_not_reach_the_bridge(edge: Edge) -> None:
    assert edge.ask("POST", b"x" * 2**20)[0] == 200
    said = edge.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", whole=False)
    assert said.startswith(b"HTTP/1.1 413 "), said
    assert len(edge.asked) == 1


def test_the_last_address_is_the_clients_whatever_it_claims(edge: Edge) -> None:
    claimed = {"X-Forwarded-For": "192.0.2.1"}
    assert edge.ask(headers=claimed)[2] == "192.0.2.1, 127.0.0.1"


@pytest.mark.parametrize("shape", SHAPES)
def test_what_two_servers_could_read_in_two_ways_is_refused(edge: Edge, shape: str) -> None:
    said = edge.raw(SHAPES[shape] + SMUGGLED)
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert b" 200 " not in said
    assert "/smuggled" not in edge.asked


def test_a_length_beside_chunks_is_dropped(edge: Edge) -> None:
    """HAProxy reads the chunks, sends them on as such, and closes: nothing is left over to be a second request."""
    request = (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    )
    edge.raw(request + SMUGGLED)
    assert "/smuggled" not in edge.asked


@pytest.mark.parametrize(
    ("name", "of_the_release", "status"),
    [(BRIDGE, True, 200), ("lighthouse-agents.lighthouse-agents", True, 503), (BRIDGE, False, 503)],
    ids=["the bridge", "another with a certificate", "another authority"],
)
def test_it_speaks_to_none_but_the_bridge(
    name: str, of_the_release: bool, status: int, renderer: Renderer, tmp_path: Path
) -> None:
    ours, theirs = new_authority(), new_authority()
    controller, shown = tmp_path / "controller", tmp_path / "shown"
    controller.mkdir()
    shown.mkdir()
    certificate(controller, [], ours, ["lighthouse-edge.lighthouse"])
    both = (controller / "tls.crt").read_bytes() + (controller / "tls.key").read_bytes()
    (controller / "both.pem").write_bytes(both)
    certificate(shown, [], ours if of_the_release else theirs, [name])
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(shown / "tls.crt", shown / "tls.key")
    # As a bridge does whose clients are verified.
    tls.load_verify_locations(controller / "ca.crt")
    tls.verify_mode = ssl.CERT_REQUIRED
    with _running(renderer, tmp_path, "own", tls) as edge:
        assert edge.ask()[0] == status
        assert edge.asked == ["/"] * (status == 200)
