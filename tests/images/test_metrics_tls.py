"""The port of probes and metrics over TLS: the latest certificate, to kubelet too, and nobody can hold it up."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

import lighthouse_agent.metrics_tls
import lighthouse_bridge.metrics_tls
import lighthouse_fuse_csi.metrics_tls
import lighthouse_redis_keeper.metrics_tls
from lighthouse_agent.errors import SettingsError as AgentError
from lighthouse_agent.probes import ProbeServer
from lighthouse_bridge.metrics_tls import CertificateError, secured
from lighthouse_bridge.scrapes import Scrapes
from lighthouse_fuse_csi import web as driver_web
from lighthouse_fuse_csi.errors import SettingsError as DriverError
from lighthouse_redis_keeper import web as keeper_web
from lighthouse_redis_keeper.errors import SettingsError as KeeperError
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.images.certificates import MountedSecret

MODULES = (
    lighthouse_agent.metrics_tls,
    lighthouse_bridge.metrics_tls,
    lighthouse_fuse_csi.metrics_tls,
    lighthouse_redis_keeper.metrics_tls,
)
PATIENCE = 20


class _Handler(BaseHTTPRequestHandler):
    timeout = 5

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port(secret: MountedSecret) -> Iterator[int]:
    """A server of the standard library over TLS."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.socket = secured(server.socket, secret.folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def trust(secret: MountedSecret) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(secret.folder / "ca.crt"))


def shown(port: int, context: ssl.SSLContext) -> int:
    """The serial number of the certificate that a new client is shown, as one who names no host: kubelet does not."""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.version() == "TLSv1.3"
        der = wrapped.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der).serial_number


def get(port: int, path: str, context: ssl.SSLContext) -> str:
    url = f"https://127.0.0.1:{port}{path}"
    with urllib.request.urlopen(url, context=context, timeout=PATIENCE) as answer:
        text: str = answer.read().decode()
    return text


def test_every_image_has_the_same_code() -> None:
    assert len({Path(str(module.__file__)).read_text() for module in MODULES}) == 1


def test_a_changed_certificate_is_shown_to_the_next_client(port: int, secret: MountedSecret) -> None:
    context = trust(secret)
    before = shown(port, context)
    serials = [secret.renew() for _ in range(2)]
    assert before not in serials
    assert shown(port, context) == serials[-1]
    assert get(port, "/", context) == "ok"


def test_a_certificate_that_cannot_be_used_leaves_the_former(port: int, secret: MountedSecret) -> None:
    context = trust(secret)
    before = shown(port, context)
    secret.renew(tls_key=b"no key")
    assert shown(port, context) == before
    assert shown(port, context) == before
    assert shown(port, context) != secret.renew(tls_crt=b"")
    good = secret.renew()
    assert shown(port, context) == good


def test_who_knows_another_authority_gets_nothing(port: int, secret: MountedSecret) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(port, ssl.create_default_context())
    assert get(port, "/", trust(secret)) == "ok"


def test_a_silent_client_and_one_in_plain_text_hold_up_nobody(
    port: int, secret: MountedSecret, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", port)) as silent:
        begin = time.monotonic()
        assert get(port, "/", trust(secret)) == "ok"
        assert time.monotonic() - begin < _Handler.timeout
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            said = b""
            while more := plain.recv(4096):
                said += more
        assert b"ok" not in said
        silent.close()
    assert "Traceback" not in capfd.readouterr().err


def _bridge(tls: Path, port: int) -> None:
    Scrapes("127.0.0.1", port, tls)


def _agent(tls: Path, port: int) -> None:
    server = ProbeServer(port, list, CollectorRegistry(), tls)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _driver(tls: Path, port: int) -> None:
    listener = driver_web.listen(port, tls)
    driver_web.serve(listener, {"/metrics": driver_web.metrics(CollectorRegistry())})


def _keeper(tls: Path, port: int) -> None:
    keeper_web.serve(CollectorRegistry(), str, str, tls, port)


@pytest.mark.parametrize("start", [_bridge, _agent, _driver, _keeper])
def test_each_program_serves_its_metrics_so_and_not_in_plain_text(
    start: Callable[[Path, int], None], secret: MountedSecret
) -> None:
    port = free_port()
    start(secret.folder, port)
    get(port, "/metrics", trust(secret))
    serial = secret.renew()
    assert shown(port, trust(secret)) == serial
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE)


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (_bridge, CertificateError),
        (_agent, AgentError),
        (_driver, DriverError),
        (_keeper, KeeperError),
    ],
)
def test_without_a_certificate_each_says_what_is_missing(
    start: Callable[[Path, int], None], error: type[Exception], tmp_path: Path
) -> None:
    missing = r"LIGHTHOUSE_METRICS_TLS_DIR: .*\(No such file or directory\); mount a Secret"
    with pytest.raises(error, match=missing):
        start(tmp_path, free_port())
