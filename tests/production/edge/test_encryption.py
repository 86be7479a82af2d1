"""From the edge to bridges: both show a certificate, and its renewal loses no request."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ci.settings import NAMESPACE
from tests.images.certificates import new_authority
from tests.live.support import eventually
from tests.production.certificates.programs import TRY
from tests.production.edge.conftest import CLIENT, MADE, MOUNTED
from tests.production.edge.load import CLIENTS, Load
from tests.production.renewals import renew

if TYPE_CHECKING:
    from tests.production.edge.conftest import Release
    from tests.production.edge.outside import Outside
    from tests.production.reports import Report

pytestmark = pytest.mark.live

# For so long a bridge tells clients of its former certificate to connect anew.
TELLING_SECONDS = 35


@pytest.mark.proves(22, level="running")
def test_bridges_take_no_one_without_a_certificate(edge: Release) -> None:
    for bridge in edge.bridges():
        said = bridge.python(TRY, "localhost", f"{MOUNTED}/ca.crt", "")
        assert "certificate required" in said.replace("_", " ").lower()
        plain = bridge.python(TRY, "localhost", "", "")
        assert not plain.strip().isdigit(), plain


@pytest.mark.proves(22, level="running")
def test_the_edge_believes_no_other_authority(edge: Release, outside: Outside) -> None:
    if edge.values["global"]["certificates"]["maker"] != "own":
        pytest.skip("cert-manager puts its Secret right at once")
    usual = edge.secret(CLIENT)["ca.crt"]

    def believe(authority: bytes) -> None:
        patch = json.dumps({"data": {"ca.crt": base64.b64encode(authority).decode()}})
        edge.cluster.kubectl("patch", "secret", CLIENT, "-n", NAMESPACE, "--type=merge", "--patch", patch)

    def refused() -> bool:
        with outside.client() as client:
            return client.get("/health").status_code in {500, 502}

    believe(new_authority()[0].public_bytes(Encoding.PEM))
    try:
        eventually(refused, 60, "an answer that no bridge gave")
    finally:
        believe(usual)
    eventually(outside.is_served, 60, "the bridge through the edge")


@pytest.mark.proves(25, level="survives")
def test_renewed_certificates_lose_no_request(edge: Release, outside: Outside, report: Report) -> None:
    if edge.values["global"]["certificates"]["maker"] != "cert-manager":
        pytest.skip("nothing renews the chart's own certificates by itself")
    before = outside.serial()
    with Load(outside, edge.key("operator")) as load:
        eventually(lambda: load.answered > 10 * CLIENTS, 60, "requests before the renewal")
        begin = time.monotonic()
        for name in MADE:
            renew(edge.cluster, NAMESPACE, name)
        eventually(lambda: outside.serial() != before, 60, "the renewed certificate of the edge")
        shown = time.monotonic() - begin
        eventually(edge.has_mounted, 180, "the renewed certificate in bridges")
        time.sleep(TELLING_SECONDS)
    report.row("Edge shows its renewed certificate", f"after {shown:.0f} s")
    report.row(
        "Requests lost while the certificates of edge, its client side and bridges were renewed",
        f"{len(load.failures)} of {load.answered}",
    )
    assert load.failures == []


@pytest.mark.parametrize("edge", ["plain"], indirect=True)
def test_without_certificates_of_bridges_it_serves_too(edge: Release, outside: Outside) -> None:
    token = outside.session(edge.key("operator"), "plain")
    with outside.client(token) as client:
        assert client.get("/events").status_code == 200
