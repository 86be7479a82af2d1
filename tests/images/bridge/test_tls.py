"""The bridge over TLS: its certificate changes while it serves, and whom it asks for one."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.images.bridge.support import Bridge
from tests.images.certificates import MountedSecret, certificate, new_authority

Start = Callable[..., Bridge]
QUICK = {"LIGHTHOUSE_TLS_RELOAD_SECONDS": "0.1", "LIGHTHOUSE_TLS_HANDOVER_SECONDS": "1"}


def started(start: Start, secret: MountedSecret, **env: str) -> Bridge:
    return start(LIGHTHOUSE_TLS_DIR=str(secret.folder), **{**QUICK, **env})


def shown(bridge: Bridge) -> int:
    """The serial number of the certificate that a new client is shown."""
    assert bridge.tls is not None
    context = ssl.create_default_context(cafile=bridge.tls / "ca.crt")
    context.load_cert_chain(bridge.tls / "tls.crt", bridge.tls / "tls.key")
    with (
        socket.create_connection(("127.0.0.1", bridge.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def metric(bridge: Bridge, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{bridge.metrics_port}/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith(f"lighthouse_bridge_{name} ")]
    return float(line.split()[1])


@contextmanager
def load(bridge: Bridge, threads: int = 4) -> Iterator[tuple[list[int], list[str]]]:
    """Requests without pause, half of them each on a connection of its own; yields statuses and errors."""
    statuses: list[int] = []
    errors: list[str] = []
    stop = threading.Event()

    def ask(*, keep: bool) -> None:
        kept = bridge.client()
        while not stop.is_set():
            client = kept if keep else bridge.client()
            try:
                statuses.append(client.get("/health").status_code)
            except httpx.HTTPError as error:
                errors.append(repr(error))
            if not keep:
                client.close()
        kept.close()

    running = [threading.Thread(target=ask, kwargs={"keep": n % 2 == 0}) for n in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield statuses, errors
    finally:
        stop.set()
        for thread in running:
            thread.join()


def test_over_tls_clients_are_served_and_plain_text_is_not(
    start_bridge: Start, secret: MountedSecret
) -> None:
    own = started(start_bridge, secret)
    assert own.join("builder").validate("ls")["approved"] is True
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{own.port}/health")
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{own.url}/health")


def test_probes_have_a_port_in_plain_text_and_nothing_else_is_there(
    start_bridge: Start, secret: MountedSecret
) -> None:
    own = started(start_bridge, secret)
    plain = f"http://127.0.0.1:{own.probe_port}"
    answers = {path: httpx.get(plain + path).status_code for path in ("/health", "/ready", "/health/live")}
    assert set(answers.values()) == {200}, answers
    others = {
        (method, path): httpx.request(method, plain + path).status_code
        for method, path in (("POST", "/session/create"), ("GET", "/shadow/tree"), ("GET", "/status"))
    }
    assert set(others.values()) == {404}, others


@pytest.mark.heavy
def test_a_new_certificate_is_shown_without_a_failed_request_and_without_a_restart(
    start_bridge: Start, secret: MountedSecret
) -> None:
    own = started(start_bridge, secret)
    process = own.pid
    with load(own) as (statuses, errors):
        for _ in range(3):
            before = len(statuses)
            serial = secret.renew()
            own.wait_for(lambda: shown(own) == serial)  # noqa: B023 - used before the next round
            own.wait_for(lambda: len(statuses) > before + 50)  # noqa: B023 - as above
            # Until the former's clients had their time, and after.
            time.sleep(1.5)
            assert {shown(own) for _ in range(10)} == {serial}
    assert errors == []
    assert set(statuses) == {200}
    assert own.pid == process
    assert metric(own, "certificate_changes_total") == 3


@pytest.mark.heavy
def test_a_stream_goes_on_over_a_change_and_a_socket_is_asked_to_come_anew(
    start_bridge: Start, secret: MountedSecret
) -> None:
    own = started(start_bridge, secret)
    builder = own.join("builder")
    context = ssl.create_default_context(cafile=secret.folder / "ca.crt")
    lines: list[Any] = []

    def listen() -> None:
        with (
            own.client() as client,
            client.stream("GET", "/events/stream", headers=builder.headers) as answer,
        ):
            lines.extend(json.loads(line) for line in answer.iter_lines())

    reading = threading.Thread(target=listen)
    address = own.url.replace("https", "wss") + f"/ws/{builder.agent_id}"
    with connect(address, ssl=context, additional_headers=builder.headers) as held:
        reading.start()
        own.wait_for(lambda: lines)
        serial = secret.renew()
        own.wait_for(lambda: shown(own) == serial)
        held.send('{"type":"ping"}')
        assert json.loads(held.recv(timeout=5))["type"] == "pong"
        with pytest.raises(ConnectionClosed) as closed:
            held.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    seen = len(lines)
    builder.update("after.txt", "after")
    own.wait_for(lambda: any("after.txt" in json.dumps(line) for line in lines[seen:]))
    assert own.stop() == 0
    reading.join(10)
    assert not reading.is_alive()


def test_with_verified_clients_only_those_of_the_authority_are_served(
    start_bridge: Start, secret: MountedSecret, tmp_path: Path
) -> None:
    own = started(start_bridge, secret, LIGHTHOUSE_TLS_CLIENTS="verified")
    assert own.http.get("/health").status_code == 200
    context = ssl.create_default_context(cafile=secret.folder / "ca.crt")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{own.url}/health", verify=context)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    certificate(stranger, ["127.0.0.1"], new_authority())
    context.load_cert_chain(stranger / "tls.crt", stranger / "tls.key")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{own.url}/health", verify=context)
    assert httpx.get(f"http://127.0.0.1:{own.probe_port}/health").status_code == 200


def test_another_authority_takes_over_as_well(start_bridge: Start, secret: MountedSecret) -> None:
    own = started(
        start_bridge, secret, LIGHTHOUSE_TLS_CLIENTS="verified", LIGHTHOUSE_TLS_HANDOVER_SECONDS="0"
    )
    secret.authority = new_authority()
    serial = secret.renew()

    def taken() -> bool:
        try:
            return shown(own) == serial
        except OSError:
            return False

    own.wait_for(taken)
    with own.client() as client:
        assert client.get("/health").status_code == 200


def test_a_broken_certificate_leaves_the_former_and_is_reported(
    start_bridge: Start, secret: MountedSecret
) -> None:
    serial = secret.renew()
    own = started(start_bridge, secret)
    complaint = "the new certificate cannot be used"
    for count, broken in enumerate(({"tls_key": b"nonsense"}, {"tls_crt": b""}), 1):
        secret.renew(**broken)
        own.wait_for(lambda count=count: own.log.read_text().count(complaint) == count)
        assert metric(own, "certificate_broken") == 1
        assert own.http.get("/health").status_code == 200
        context = ssl.create_default_context(cafile=secret.folder / "ca.crt")
        assert httpx.get(f"{own.url}/health", verify=context).status_code == 200
    secret.renew()
    own.wait_for(lambda: metric(own, "certificate_broken") == 0)
    assert shown(own) != serial
    text = own.log.read_text()
    assert text.count(complaint) == 2
    assert "nonsense" not in text


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LIGHTHOUSE_TLS_DIR": "/nonexistent"}, ["/nonexistent/tls.crt", "mount a Secret"]),
        ({"LIGHTHOUSE_TLS_DIR": "relative"}, ["LIGHTHOUSE_TLS_DIR", "absolute"]),
        ({"LIGHTHOUSE_TLS_CLIENTS": "some"}, ["LIGHTHOUSE_TLS_CLIENTS", "'some'", "verified", "any"]),
    ],
)
def test_what_cannot_be_used_is_refused_at_start(
    env: dict[str, str], words: list[str], secret: MountedSecret, tmp_path: Path
) -> None:
    own = Bridge(tmp_path / "state", {"LIGHTHOUSE_TLS_DIR": str(secret.folder)})
    done = subprocess.run(
        [sys.executable, "-m", "lighthouse_bridge"],
        env=own.env | env,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert [word for word in words if word not in done.stderr] == []
