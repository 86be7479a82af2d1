"""The bridge away, slow, failing or lying: what is cached is served, the rest fails soon, and all heals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import urllib3

from tests.images.fuse_csi.support import HTTP, BridgeProgram, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.images.fuse_csi.machine import Pod


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, or does what the proxy's fault says."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault
        if fault == "refuse":
            self.close_connection = True
        elif fault == "fail":
            self._answer(503, b'{"detail": "no"}', "application/json")
        else:
            time.sleep(1.5 if fault == "slow" else 0)
            self._forward(body, fault)

    do_POST = do_GET  # noqa: N815 (the name is http.server's)

    def _forward(self, body: bytes, fault: str) -> None:
        dropped = ("Host", "Content-Length", "Connection")
        headers = {name: value for name, value in self.headers.items() if name not in dropped}
        url = self.server.target + self.path
        response = HTTP.request(self.command, url, body=body, headers=headers, preload_content=False)
        if "/events/stream" in self.path:
            self._stream(response)
            return
        data = response.read()
        if fault == "lie" and "/shadow/blobs" in self.path:
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif fault == "garbage":
            data = b"\xc1<html>" + data[:10]
        self._answer(response.status, data, response.headers.get("Content-Type", ""))

    def _answer(self, status: int, data: bytes, kind: str) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, response: urllib3.BaseHTTPResponse) -> None:
        self.send_response_only(200)
        self.end_headers()
        self.close_connection = True
        while not self.server.fault and (chunk := response.read1(65536)):
            self.wfile.write(chunk)
            self.wfile.flush()

    def handle(self) -> None:
        with contextlib.suppress(OSError, urllib3.exceptions.HTTPError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Proxy(ThreadingHTTPServer):
    """Stands before the real bridge; `fault` is "", refuse, fail, slow, lie or garbage."""

    daemon_threads = True

    def __init__(self, bridge: BridgeProgram) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.target = bridge.url
        self.fault = ""
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.fault = "refuse"
        self.shutdown()
        self.server_close()


@pytest.fixture
def proxy(bridge: BridgeProgram) -> Iterator[Proxy]:
    each = Proxy(bridge)
    try:
        yield each
    finally:
        each.close()


@pytest.fixture
def cold(make_pod: Callable[..., Pod], proxy: Proxy) -> Pod:
    """A pod that has the tree but no content in its cache."""
    return make_pod(proxy.url, LIGHTHOUSE_PREFETCH_MIB="0", LIGHTHOUSE_BRIDGE_TIMEOUT_SECONDS="1").start()


@pytest.mark.parametrize("fault", ["refuse", "fail", "slow", "lie", "garbage"])
def test_content_that_cannot_be_had_is_an_error_in_time_and_heals(
    cold: Pod, proxy: Proxy, fault: str
) -> None:
    current = cold.project / "current/src"
    cached = (current / "bisect.py").read_bytes()
    proxy.fault = fault
    started = time.monotonic()
    with pytest.raises(OSError, match="Input/output") as caught:
        (current / "abc.py").read_bytes()
    assert caught.value.errno == errno.EIO
    assert time.monotonic() - started < 4
    # The tree and what is cached are served as if nothing were.
    assert (current / "bisect.py").read_bytes() == cached
    assert (current / "abc.py").stat().st_size > 0
    assert len(os.listdir(current)) > 100  # noqa: PTH208 (names only)
    proxy.fault = ""
    eventually(lambda: (current / "abc.py").read_bytes().startswith(b"# Copyright"), 5)


def test_many_misses_while_the_bridge_is_away_fail_together(cold: Pod, proxy: Proxy) -> None:
    proxy.fault = "slow"
    started = time.monotonic()
    result = cold.run("sh", "-c", "cat /mnt/project/current/src/*.py | wc -c", seconds=30)
    assert b"Input/output error" in result.stderr
    assert time.monotonic() - started < 15


def test_reader_that_waits_for_the_bridge_can_be_killed(make_pod: Callable[..., Pod], proxy: Proxy) -> None:
    pod = make_pod(proxy.url, LIGHTHOUSE_PREFETCH_MIB="0").start()
    proxy.fault = "slow"
    reader = subprocess.Popen(
        pod.in_container(["cat", "/mnt/project/current/src/ast.py"]), stdout=subprocess.PIPE
    )
    time.sleep(0.3)
    assert reader.poll() is None
    reader.kill()
    started = time.monotonic()
    reader.communicate(timeout=5)
    assert time.monotonic() - started < 0.5


def test_daemon_restarted_while_the_bridge_is_away_serves_what_it_had(cold: Pod, proxy: Proxy) -> None:
    path = cold.project / "current/src/abc.py"
    content = path.read_bytes()
    proxy.fault = "refuse"
    os.kill(cold.daemon(), signal.SIGKILL)
    assert path.read_bytes() == content
    with_drop = cold.run("find", "/mnt/project/current/src", "-type", "f")
    assert len(with_drop.stdout.splitlines()) >= 2000
    assert with_drop.stderr == b""
    eventually(lambda: cold.get("/ready")[0] == 200)


def test_changes_made_during_an_outage_are_seen_after_it(
    cold: Pod, proxy: Proxy, bridge: BridgeProgram
) -> None:
    bridge.write("outage", "before")
    path = cold.project / "current/outage"
    eventually(lambda: path.read_text() == "before", 2)
    proxy.fault = "refuse"
    bridge.write("outage", "after it")
    time.sleep(0.3)
    proxy.fault = ""
    eventually(lambda: path.read_text() == "after it", 12)


def test_sidecar_without_a_bridge_is_not_ready_and_says_no_project_is_there(
    make_pod: Callable[..., Pod], proxy: Proxy
) -> None:
    proxy.fault = "refuse"
    pod = make_pod(proxy.url, LIGHTHOUSE_BRIDGE_TIMEOUT_SECONDS="1")
    pod.start_sidecar()
    eventually(lambda: pod.get("/ready")[0] == 503)
    pod.start_container()
    with pytest.raises(OSError, match="Input/output"):
        os.listdir(pod.project / "current")  # noqa: PTH208 (names only)
    proxy.fault = ""
    pod.wait_ready()
    assert len(os.listdir(pod.project / "current/src")) > 100  # noqa: PTH208 (names only)


def test_damaged_cache_is_fetched_anew(make_pod: Callable[..., Pod]) -> None:
    pod = make_pod().start()
    path = pod.project / "current/src/abc.py"
    content = path.read_bytes()
    eventually(lambda: pod.metric("lighthouse_fuse_cache_size_bytes") > 10_000_000)
    for pack in (pod.cache / "blobs").glob("*.pack"):
        data = bytearray(pack.read_bytes())
        for position in range(0, len(data), 500):
            data[position] ^= 255
        pack.write_bytes(data)
    # A living daemon trusts what it has proven; the next one does not.
    os.kill(pod.daemon(), signal.SIGKILL)
    (pod.project / "current").stat()
    with open("/proc/sys/vm/drop_caches", "w") as file:  # noqa: PTH123 (a pseudo file)
        file.write("1")
    assert path.read_bytes() == content


def test_cache_stays_within_its_limit(make_pod: Callable[..., Pod], bridge: BridgeProgram) -> None:
    pod = make_pod(LIGHTHOUSE_CACHE_MIB="16", LIGHTHOUSE_PREFETCH_MIB="0").start()
    result = pod.run("sh", "-c", "cat $(find /mnt/project/current/src -name '*.py') | wc -c")
    assert result.stderr == b""
    assert pod.metric("lighthouse_fuse_cache_size_bytes") <= 16 << 20
    used = sum(path.stat().st_blocks * 512 for path in (pod.cache / "blobs").iterdir())
    assert used < 20 << 20


def test_expired_session_is_opened_anew(cold: Pod, bridge: BridgeProgram) -> None:
    # Three sessions an agent and role are kept: the sidecar's own is the oldest.
    for _ in range(3):
        bridge.session("expert", f"agent-{cold.uid}")
    assert (cold.project / "current/src/csv.py").read_bytes()
